"""Which result rows are looked at: those of some protocols, targets and classifiers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from metatc2.errors import InputError, nearest
from metatc2.transfer.row import Row


@dataclass(frozen=True)
class RowFilter:
    """A choice of rows by the names that tables show; what is not named is not chosen by.

    Args:
        protocols: e.g. ``"few-shot"``, ``"5-way 1-shot"``, ``"knn"``.
        targets: e.g. ``"glyphs:greek"``; ``"glyphs"`` stands for every target of it.
        heads: e.g. ``"cosine"``, ``"k=20"``.

    >>> row = Row(protocol="few-shot", source="a", target="glyphs:greek", split="greek", mean=0.5, ci95=0.1, seed=0,
    ...           encoder_sha256="", facts={"way": 5, "shot": 1, "head": "cosine"})
    >>> [RowFilter((name,)).keeps(row) for name in ("few-shot", "5-way 1-shot", "5-way 5-shot")]
    [True, True, False]
    >>> RowFilter(targets=("glyphs",)).keeps(row), RowFilter(targets=("gly",)).keeps(row)
    (True, False)
    """

    protocols: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def keeps(self, row: Row) -> bool:
        """Whether a row is one of those."""
        asked = ((self.protocols, _protocols(row)), (self.targets, _targets(row)), (self.heads, _heads(row)))
        return all(not names or not set(names).isdisjoint(known) for names, known in asked)

    def require(self, rows: Iterable[Row], where: str) -> None:
        """Refuse a name that no row has, or names that no row has together.

        Args:
            rows: all that there are.
            where: the command, for the message.

        Raises:
            InputError: if there is such a name.
        """
        rows = list(rows)
        for flag, names, of in (
            ("--protocol", self.protocols, _protocols),
            ("--target", self.targets, _targets),
            ("--head", self.heads, _heads),
        ):
            # The first name of a row is the one that is offered.
            known = {name: of(row)[0] for row in rows for name in of(row)}
            for name in names:
                if name not in known:
                    # Of protocols every name: "5-way 1-shot" is one that tables show.
                    names_known = known if of is _protocols else dict.fromkeys(known.values())
                    offered = (
                        nearest(name, names_known) if known else "nothing was measured, so run `metatc2 transfer` first"
                    )
                    raise InputError(f"{where}: {flag} {name}: no such result; {offered}")
        if rows and not any(map(self.keeps, rows)):
            raise InputError(f"{where}: no result is of {self.words}; leave one of them out")

    @property
    def words(self) -> str:
        """The choice in words; empty where everything is chosen."""
        parts = (("protocol", self.protocols), ("target", self.targets), ("head", self.heads))
        return ", ".join(f"{name} {' or '.join(chosen)}" for name, chosen in parts if chosen)

    def of_all_targets(self) -> RowFilter:
        """The same choice on every target."""
        return replace(self, targets=())


#: All rows.
EVERY_ROW = RowFilter()


def _protocols(row: Row) -> tuple[str, ...]:
    words = {"few-shot": f"{row.way}-way {row.shot}-shot", "knn": "k-NN"}.get(row.protocol)
    return (row.protocol,) if words is None else (row.protocol, words)


def _targets(row: Row) -> tuple[str, ...]:
    parts = row.target.split(":")
    return tuple(":".join(parts[:n]) for n in range(len(parts), 0, -1))


def _heads(row: Row) -> tuple[str, ...]:
    return (f"k={row.k}", row.head) if row.k else (row.head,)
