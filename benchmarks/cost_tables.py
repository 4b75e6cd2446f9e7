"""Tables of time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def step_cost(rows: Rows) -> str:
    """Time and memory of a calibrated step over a plain step."""
    lines = ["| encoder | step | T | time over plain (quartiles) | memory over plain |", "|---|---|---|---|---|"]
    # Rows that do not say what adapts are of the calibrator that all tasks share, with isotropy.
    titles = {"task": "TC²", "shared": "shared TC²", None: "shared TC² + isotropy"}
    for r in rows:
        low, high = r["ratio_quartiles"]
        name = f"{r['encoder']}, width {r['width']}, {r['image']}, batch {r['batch']}"
        ratios = f"{r['ratio']:.2f} ({low:.2f}–{high:.2f}) | {r['memory_ratio']:.2f}"
        lines.append(f"| {name} | {titles[r.get('adapt')]} | {r['inner_steps']} | {ratios} |")
    return "\n".join(lines)


def calibrated_cost(rows: Rows) -> str:
    """Time of a step of a calibrated module over that of its encoder."""
    lines = ["| encoder | the module is | T | time over plain (quartiles) |", "|---|---|---|---|"]
    for r in rows:
        low, high = r["ratio_quartiles"]
        name = f"{r['encoder']}, width {r['width']}, {r['image']}, batch {r['batch']}"
        steps = r["inner_steps"] or "–"
        lines.append(f"| {name} | {r['use']} | {steps} | {r['ratio']:.2f} ({low:.2f}–{high:.2f}) |")
    return "\n".join(lines)


def first_block_speed(rows: Rows) -> str:
    """Conv-4's first block in one go against torch's operations."""
    lines = [
        "| training on images of | freed memory is | block, torch / ours (quartiles) | encoder |",
        "|---|---|---|---|",
    ]
    for images, memory in dict.fromkeys((r["images"], r["memory"]) for r in rows):
        own = {r["part"]: r for r in rows if (r["images"], r["memory"]) == (images, memory)}
        cells = [
            "{torch_over_ours:.2f} ({quartiles[0]:.2f}–{quartiles[1]:.2f})".format(**own[p])
            for p in ("block", "encoder")
        ]
        lines.append(f"| {images} | {memory} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def umm_cost(rows: Rows) -> str:
    """A step of UMM in passes of the late part."""
    lines = [
        "| encoder, split after | mode | β = 1: over plain on the same images (passes) | β = 0 |",
        "|---|---|---|---|",
    ]
    for encoder, mode in dict.fromkeys((r["encoder"], r["mode"]) for r in rows):
        own = {r["beta"]: r for r in rows if (r["encoder"], r["mode"]) == (encoder, mode)}
        first = own[1.0]
        name = f"{encoder}, width {first['width']}, `{first['split']}`, {first['images']}"
        cells = [f"{own[beta]['over_plain']:.2f} ({own[beta]['passes']:.1f})" for beta in (1.0, 0.0)]
        lines.append(f"| {name} | {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def few_shot_speed(rows: Rows) -> str:
    """Seconds for 10 000 episodes on one core."""
    lines = ["| head | episodes | features | seconds, one core |", "|---|---|---|---|"]
    for r in rows:
        task = f"{r['way']}-way {r['shot']}-shot {r['query']}-query"
        lines.append(f"| {r['head']} | {r['episodes']:,} × {task} | {r['dimensions']}-d, cached | {r['seconds']:.2f} |")
    return "\n".join(lines)


def episodes_speed(rows: Rows) -> str:
    """Time and memory of a second-order meta-gradient."""
    lines = [
        "| library | inner steps | seconds | ours / this (quartiles) | tensors, MB | process, MB | distance of gradients |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = r["ratio_quartiles"]
        ratio = f"{r['ours_over_this']:.2f} ({low:.2f}–{high:.2f})"
        memory = f"{r['tensors_mb']:.1f} | {r['process_mb']:.0f}"
        lines.append(
            f"| {r['library']} | {r['inner_steps']} | {r['seconds']:.2f} | {ratio} | {memory} | {r['gradient_distance']:.0e} |"
        )
    return "\n".join(lines)


def adjoint_memory(rows: Rows) -> str:
    """Recompute against Unroll."""
    lines = [
        "| inner steps | Unroll, MB | Recompute, MB | memory saved | time, Recompute / Unroll (range) |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = r["time_ratio_range"]
        lines.append(
            f"| {r['inner_steps']} | {r['memory_unroll_mb']} | {r['memory_recompute_mb']} | {r['memory_ratio']:.1f} × | "
            f"{r['time_ratio']:.2f} ({low:.2f}–{high:.2f}) |"
        )
    return "\n".join(lines)


def folder_listing(rows: Rows) -> str:
    """What listing very many files costs."""
    lines = ["| listed by | files | to list, s | to ask for size and time, s | bytes a file |", "|---|---|---|---|---|"]
    for r in rows:
        files = f"{r['files']:,}".replace(",", " ")
        times = f"{r['seconds_to_list']:.1f} | {r['seconds_to_ask']:.1f}"
        lines.append(f"| `{r['way']}` | {files} | {times} | {r['bytes_a_file']} |")
    return "\n".join(lines)


def stream_memory(rows: Rows) -> str:
    """Peak of runs on sources of two lengths."""
    lines = [
        "| source | images | peak at the limit, MB | at ten times the limit, MB | mapped: libraries, arrow, MB |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        name = f"`{r['source']}:`, {'streamed' if r['stream'] else 'in memory'}"
        images, peak, mapped = (" → ".join(f"{n:,}".replace(",", " ") for n in r[key]) for key in _PAIRS)
        at, beyond = peak.split(" → ")
        lines.append(f"| {name} | {images} | {at} | {beyond} | {mapped} |")
    return "\n".join(lines)


_PAIRS = ("images", "peak_mb", "mapped_mb")


def cost_table(rows: Rows) -> str:
    """Time and memory of a calibrated step over a plain one, by the number of inner steps."""
    steps = sorted({r["inner_steps"] for r in rows})
    lines = [
        "| time (memory) of a step, over plain | " + " | ".join(f"T = {t}" for t in steps) + " |",
        "|---|" + "---|" * len(steps),
    ]
    for encoder, width, batch in dict.fromkeys((r["encoder"], r["width"], r["batch"]) for r in rows):
        own = {r["inner_steps"]: r for r in rows if (r["encoder"], r["width"], r["batch"]) == (encoder, width, batch)}
        cells = [f"{own[t]['ratio']:.2f} ({own[t]['memory_ratio']:.2f})" if t in own else "–" for t in steps]
        lines.append(f"| {encoder}, width {width}, batch {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def pretrain_throughput(rows: Rows) -> str:
    """Images a second beside lightly."""
    lines = [
        "| encoder | precision | beside | images/s, ours | images/s, theirs | ours / theirs (quartiles) |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = r["ratio_quartiles"]
        name = f"{r['encoder']}, width {r['width']}, {r['image']}, batch {r['batch']}"
        speeds = f"{r['ours_images_per_second']:.0f} | {r['peer_images_per_second']:.0f}"
        ratio = f"{r['ours_over_peer']:.2f} ({low:.2f}–{high:.2f})"
        lines.append(f"| {name} | {r['precision']} | {r['peer']} | {speeds} | {ratio} |")
    return "\n".join(lines)


def scaling(rows: Rows) -> str:
    """Slopes of time and memory."""
    lines = [
        "| doubled | from – to | time, ms | slope of time (quartiles) | tensors, MB | slope of memory |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        if "time_slope" not in r:
            continue
        low, high = r["time_slope_quartiles"]
        times = f"{1000 * r['seconds'][0]:.0f} – {1000 * r['seconds'][-1]:.0f}"
        memory = f"{r['tensors_mb'][0]:.1f} – {r['tensors_mb'][-1]:.1f}"
        slopes = f"{r['time_slope']:.2f} ({low:.2f}–{high:.2f})", f"{r['memory_slope']:.2f}"
        ends = f"{r['values'][0]} – {r['values'][-1]}"
        lines.append(f"| {r['axis']} | {ends} | {times} | {slopes[0]} | {memory} | {slopes[1]} |")
    return "\n".join(lines)


def messages(rows: Rows) -> str:
    """Bytes between two ranks, counted and by formula."""
    (r,) = (r for r in rows if "bytes" in r)
    titles = {"allgather": "gathered", "allreduce": "summed over ranks"}
    lines = ["| a step of two ranks | counted, kB | by the formulas, kB |", "|---|---|---|"]
    for kind, title in titles.items():
        lines.append(f"| {title} | {r['bytes'][kind] / 1e3:.1f} | {r['expected_bytes'][kind] / 1e3:.1f} |")
    return "\n".join(lines)


def after_encoder(rows: Rows) -> str:
    """What every rank computes, as a share of a step of one."""
    lines = ["| a step of one process | not the encoder |", "|---|---|"]
    for r in rows:
        if "plain_share" in r:
            low, high = r["tc2_share_quartiles"]
            fixed = r["fixed"]
            size = f"batch {fixed['batch']}, {fixed['tasks']} tasks"
            lines.append(f"| plain, within each task, {size} | {r['plain_share']:.0%} |")
            lines.append(f"| TC², T = {fixed['inner_steps']}, {size} | {r['tc2_share']:.0%} ({low:.0%}–{high:.0%}) |")
    return "\n".join(lines)
