"""What can be offered after pre-training: the transfer that a run's own data allow, found from labels before any step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metatc2.data import ImageStore
from metatc2.data.seen import class_names
from metatc2.errors import InputError
from metatc2.experiment.config import Config, merge, settled
from metatc2.experiment.protocols import protocols_of
from metatc2.io.source_names import place, real_path, split_name
from metatc2.io.suggest import SOURCE, command
from metatc2.transfer import SeenClasses, expand_targets, parse_target
from metatc2.transfer.evaluate import check_target


@dataclass(frozen=True)
class Offer:
    """What to do with a run.

    Args:
        words: after ``metatc2 transfer RUN``; None where nothing can be measured on the run's own data.
        problem: why it is not the plain command, or what the plain command changes; empty where all is as asked.
    """

    words: tuple[str, ...] | None = ()
    problem: str = ""

    def next_step(self, path: Path) -> str:
        """The end of a sentence that names the next command, as a shell takes it.

        >>> Offer().next_step(Path("my run")), Offer(None).next_step(Path("r"))
        ("next: metatc2 transfer 'my run'", 'name data to measure it on: metatc2 transfer r --to SOURCE[:SPLIT]')
        """
        if self.words is None:
            return f"name data to measure it on: {command('transfer', path, '--to', SOURCE)}"
        return f"next: {command('transfer', path, *self.words)}"


def offer_transfer(config: Config, store: ImageStore, earlier: SeenClasses | None = None) -> Offer:
    """What ``metatc2 transfer RUN`` will find, as far as labels and names tell; nothing is read.

    Args:
        config: of the run.
        store: what it learns from.
        earlier: what the weights that training starts from had seen.

    Returns:
        The plain command where it works; else the nearest one that does.
    """
    source = store.name
    own = {parse_target(name)[0] for name in config.transfer.targets or (source,)} == {source}
    if own and len(store.labels.unique()) == 1:
        return Offer(None, f"all images of {source} are of one class, so nothing can be measured on them")
    try:
        return Offer((), _measurable(config, store, earlier))
    except InputError as error:
        problem = str(error)
    others: tuple[tuple[tuple[str, ...], dict[str, object]], ...] = (
        (("--allow-seen",), {"allow_seen": True}),
        (("--to", f"{source}:all", "--allow-seen"), {"targets": [f"{source}:all"], "allow_seen": True}),
    )
    if source.startswith("clips:"):
        others = ((("--protocol", "clips"), {"protocols": ["clips"]}), *others)
    for words, changed in others:
        try:
            _measurable(merge(settled(config), {"transfer": changed}, "offer"), store, earlier)
        except InputError:
            continue
        return Offer(words, problem)
    return Offer(None, problem)


def _measurable(config: Config, store: ImageStore, earlier: SeenClasses | None) -> str:
    """What is changed to fit, in words.

    Raises:
        InputError: what the command would say.
    """
    split = config.data.split
    seen = SeenClasses(store.name, frozenset(class_names(store, split)), place(store.name), earlier=earlier)
    protocols = protocols_of(config)
    notes: list[str] = []
    for name in config.transfer.targets or (store.name,):
        source, part = parse_target(name)
        if _key(source) != _key(store.name):
            _check_place(source)
            continue
        for target in expand_targets(store, part, seen=seen, allow_seen=config.transfer.allow_seen):
            notes += [f"{target.name} will be {note}" for note in check_target(target, protocols)]
    return "; ".join(dict.fromkeys(notes))


def _key(source: str) -> tuple[str, str]:
    kind, path = split_name(source)
    return (kind, real_path(source)) if path else (source, "")


def _check_place(source: str) -> None:
    path = real_path(source)
    if path and not Path(path).exists():
        raise InputError(f"target {source} is not there (looked for {path}); correct transfer.targets")
