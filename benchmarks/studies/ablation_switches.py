"""Every switch of shared TC² + isotropy: its default, and what is tried in its place."""

from __future__ import annotations

C, R = "calibration.", "regularizer."
# By switch: what it is, the default's value, then what is tried in its place.
SWITCHES: dict[str, tuple[str, str, dict[str, tuple[str, ...]]]] = {
    "isotropy": (
        "isotropy λ_i",
        "0.03",
        {"0": (f"{R}name=none",), **{v: (f"{R}weight={v}",) for v in ("0.003", "0.01", "0.1")}},
    ),
    "form": ("form", "add", {v: (f"{C}form={v}",) for v in ("blend", "gate")}),
    "blend": ("blend a", "1", {v: (f"{C}blend={v}",) for v in ("0", "0.5")}),
    "place": ("place", "backbone", {"projector": (f"{C}where=projector",)}),
    "factor-network": ("factor network", "pooled", {v: (f"{C}factor_network={v}",) for v in ("parameter", "fixed")}),
    "weights": ("weights", "sample", {"task": (f"{C}weights=task",)}),
    "control": ("control", "none", {v: (f"{C}control={v}",) for v in ("shuffle", "random-projection")}),
    "factors": ("factors K", "48", {v: (f"{C}factors={v}",) for v in ("4", "16", "32", "63")}),
    # With γ = 0 and statistics of the episode the number of tasks acts on nothing: see `SharedTC2`.
    "tasks": (
        "tasks M, statistics of each",
        "4, of the episode",
        {v: (f"{C}statistics=task", f"episode.tasks={v}") for v in ("2", "4", "8")},
    ),
    "tasks-gamma-1": (
        "tasks M (γ = 1)",
        "4, γ = 0",
        {v: (f"{C}gamma=1", f"episode.tasks={v}") for v in ("1", "2", "8")},
    ),
    "steps": ("inner steps T", "3", {v: (f"{C}inner_steps={v}",) for v in ("0", "1", "5")}),
    "adjoint": (
        "adjoint",
        "unroll",
        {"truncated to 1": (f"{C}adjoint=truncated",), "first order": (f"{C}adjoint=first-order",)},
    ),
    "adjoint-gamma-1": (
        "adjoint (γ = 1)",
        "γ = 0",  # what every row is compared with; the first of them is the exact one
        {
            "unroll": (f"{C}gamma=1",),
            "truncated to 1": (f"{C}gamma=1", f"{C}adjoint=truncated"),
            "first order": (f"{C}gamma=1", f"{C}adjoint=first-order"),
            "none": (f"{C}gamma=1", f"{C}adjoint=truncated", f"{C}adjoint.last_steps=0"),
        },
    ),
    "sparsity": ("sparsity λ_s", "0.05", {v: (f"{C}sparsity={v}",) for v in ("0", "0.01", "0.25", "1")}),
    "orthogonality": ("orthogonality λ_o", "1", {v: (f"{C}orthogonality={v}",) for v in ("0", "0.1", "10")}),
    "gamma": ("objective in the inner loss γ", "0", {v: (f"{C}gamma={v}",) for v in ("0.3", "1", "3")}),
    "support": ("support share", "0.5", {v: (f"episode.support={v}",) for v in ("0.25", "0.75")}),
    "assignment": ("assignment", "random", {v: (f"episode.assign={v}",) for v in ("cluster", "domain")}),
    "outer": ("outer loss on", "whole", {"query": (f"{C}outer_on=query",)}),
    "negatives": ("negatives", "batch of 128", {f"batch of {v}": (f"episode.batch={v}",) for v in ("64", "256")}),
    "standardized": ("standardized", "yes", {"no": (f"{C}standardize=false",)}),
    "look-ahead": ("look-ahead", "no", {"yes": (f"{C}look_ahead=true",)}),
}
