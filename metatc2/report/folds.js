"use strict";
(() => {
  // A link to a folded part opens it.
  function reveal() {
    const part = document.getElementById(location.hash.slice(1));
    const fold = part && (part.querySelector("details.part") || part.closest("details.part"));
    if (!fold) return;
    fold.open = true;
    part.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  document.querySelectorAll("nav a").forEach((link) => link.addEventListener("click", () => setTimeout(reveal)));
  reveal();

  // On paper nothing is folded.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details.part:not([open])")];
    folded.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((fold) => { fold.open = false; }));
})();
