"""What to know of advice besides: how long pre-training was, what is left out and why, and what may have seen the images."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.data.crops import crops_of
from metatc2.experiment.advice.rule import MeasuredArm
from metatc2.experiment.advice.work import Work
from metatc2.experiment.config import LabeledEpisode


def notes_on(work: Work, measured: Sequence[MeasuredArm]) -> list[str]:
    """Sentences without their full stop.

    Args:
        work: that was done.
        measured: what came of it.
    """
    episode, notes, parts = work.config.episode, list[str](), work.parts
    assert not isinstance(episode, LabeledEpisode)
    batch = episode.batch
    passes = [each.steps * batch / len(parts.training) for each in measured if each.steps is not None]
    if passes:
        lengths = [each.steps for each in measured if each.steps is not None]
        many = f"{min(lengths)} to {max(lengths)}" if min(lengths) < max(lengths) else f"{lengths[0]}"
        notes.append(
            f"every pre-training had {many} steps of {batch} images, {min(passes):.1f} passes over the {len(parts.training)} "
            "training images or more; longer ones may say otherwise"
        )
    notes += crops_of([parts.store])
    if parts.left_out:
        least = max(parts.labels_per_class)
        left = " and ".join(map(str, parts.left_out))
        notes.append(
            f"{left} labels a class are left out, since a class has fewer training images; {least} are the most"
        )
    for each in work.given:
        if each.note:
            notes.append(f"{each.arm.label} {each.note}, and cannot be chosen")
        if (each.store.image_size, each.store.channels) != (parts.store.image_size, parts.store.channels):
            size = each.store.image_size
            notes.append(f"{each.arm.label} saw images of {size} pixels, the others of {parts.store.image_size}")
    for key in sorted(work.failed):
        label = next(arm.label for arm in work.asked.arms if arm.key == key)
        notes.append(f"{label} is left out, since its loss was not finite (see {work.path / key}-s*/failure)")
    return notes
