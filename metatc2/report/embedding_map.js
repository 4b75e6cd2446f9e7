"use strict";
(() => {
  const source = document.getElementById("map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const [map, ring, thumb, picture, words, said, encoder, projection] = ["map", "map-ring", "map-thumb", "map-picture",
    "map-words", "map-said", "map-encoder", "map-projection"].map((id) => document.getElementById(id));
  const marks = [...map.querySelectorAll("use")];
  let places = data.views[0].xy;
  let current = -1;

  const scale = 100 / data.tile;
  const sheet = new Image();
  sheet.src = data.sprite;
  sheet.onload = () => { picture.style.backgroundSize = `${sheet.width * scale}px ${sheet.height * scale}px`; };
  picture.style.backgroundImage = `url(${data.sprite})`;

  function hide() {
    current = -1;
    ring.setAttribute("visibility", "hidden");
    thumb.hidden = true;
  }

  function show(i, speak) {
    current = i;
    const [x, y] = places[i];
    const point = data.points[i];
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    ring.setAttribute("visibility", "visible");
    picture.style.backgroundPosition = point.sprite.map((t) => `${-100 * t}px`).join(" ");
    words.textContent = point.words;
    thumb.hidden = false;
    const width = map.clientWidth, height = map.clientHeight;
    const left = x / data.width * width, top = y / data.height * height;
    // Beside the point, on the side that has room.
    thumb.style.left = `${Math.max(0, left < width / 2 ? left + 14 : left - 14 - thumb.offsetWidth)}px`;
    thumb.style.top = `${Math.max(0, Math.min(top - 30, height - thumb.offsetHeight))}px`;
    if (speak) said.textContent = `${point.words}, image ${i + 1} of ${data.points.length}`;
  }

  function nearest(x, y, allowed) {
    let best = -1, least = Infinity;
    places.forEach(([px, py], i) => {
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least && allowed(i, px, py)) { best = i; least = far; }
    });
    return [best, Math.sqrt(least)];
  }

  function under(event) {
    const box = map.getBoundingClientRect();
    const unit = data.width / box.width;
    const [i, far] = nearest((event.clientX - box.left) * unit, (event.clientY - box.top) * unit, () => true);
    return far / unit < 18 ? i : -1;
  }

  function step(dx, dy) {
    const [x, y] = places[current];
    // Ahead means nearer to the direction of the key than to the other axis.
    const ahead = (i, px, py) => {
      const along = (px - x) * dx + (py - y) * dy, across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      return i !== current && along > 0 && along >= across;
    };
    return nearest(x, y, ahead)[0];
  }

  function otherClass(by) {
    const classes = Math.max(...data.points.map((p) => p.class)) + 1;
    const wanted = (data.points[current].class + by + classes) % classes;
    return data.points.findIndex((p) => p.class === wanted);
  }

  map.addEventListener("pointermove", (event) => { const i = under(event); if (i >= 0) show(i, false); else hide(); });
  map.addEventListener("pointerdown", (event) => { const i = under(event); if (i >= 0) show(i, true); });
  map.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && document.activeElement !== map) hide(); });
  map.addEventListener("focus", () => { if (current < 0 && map.matches(":focus-visible")) show(0, true); });
  map.addEventListener("blur", hide);
  map.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") { hide(); return; }
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const jumps = { Home: () => 0, End: () => data.points.length - 1, PageDown: () => otherClass(1), PageUp: () => otherClass(-1) };
    if (!(event.key in moves) && !(event.key in jumps)) return;
    event.preventDefault();
    if (current < 0) { show(0, true); return; }
    const i = event.key in moves ? step(...moves[event.key]) : jumps[event.key]();
    if (i >= 0) show(i, true);
  });

  function place() {
    const view = data.views.find((v) => v.encoder === encoder.value && v.projection === projection.value);
    places = view.xy;
    marks.forEach((mark, i) => mark.setAttribute("transform", `translate(${places[i]})`));
    hide();
  }
  encoder.addEventListener("change", place);
  projection.addEventListener("change", place);
  // A browser may remember the choices of an earlier visit.
  place();
})();
