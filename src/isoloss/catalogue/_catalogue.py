"""The entries together: a list that prints as a table."""

import html
from collections.abc import Iterable, Sequence
from typing import overload

from isoloss.catalogue._entry import Entry
from isoloss.catalogue._kind import Kind

HEADER = ("name", "source", "kind", "architecture", "group", "action", "dim", "limits")


class Catalogue(Sequence[Entry]):
    """Symmetries of network components, by the names of the dissertation.

    Args:
        entries: What it holds, in order; names are unique.
    """

    def __init__(self, entries: Iterable[Entry]):
        self._entries = tuple(entries)

    @overload
    def __getitem__(self, index: int | str) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> "Catalogue": ...
    def __getitem__(self, index):
        if isinstance(index, str):
            found = next((e for e in self if e.name == index), None)
            if found is None:
                known = ", ".join(e.name for e in self)
                raise KeyError(f"catalogue: no entry {index!r}; there are {known}.")
            return found
        return Catalogue(self._entries[index]) if isinstance(index, slice) else self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def of_kind(self, kind: Kind | str) -> "Catalogue":
        """The entries of one kind."""
        return Catalogue(e for e in self if e.kind is Kind(kind))

    def _rows(self) -> list[tuple[str, ...]]:
        """The cells of every entry, below the header; a bar would end a cell of markdown."""
        return [
            (
                e.name,
                e.source,
                f"{e.kind.value} ({e.kind.definition})",
                f"${e.architecture}$".replace("|", r"\vert "),
                f"${e.group}$",
                f"${e.action}$",
                f"${e.dimension}$",
                e.limits,
            )
            for e in self
        ]

    def markdown(self) -> str:
        """The table of docs/catalogue.md."""
        lines = ["| " + " | ".join(row) + " |" for row in (HEADER, *self._rows())]
        return "\n".join([lines[0], "|" + "---|" * len(HEADER), *lines[1:]]) + "\n"

    def __repr__(self) -> str:
        head, body = ("name", "source", "kind", "group", "dim"), []
        for e in self:
            example = e.example()
            name = example.group.name + (f"^{'x'.join(map(str, example.batch))}" if example.batch else "")
            body.append(
                (e.name, e.source, e.kind.value, name, str(example.dim) if example.dim else "discrete")
            )
        widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
        rows = [head, tuple("-" * w for w in widths), *body]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, "", f"{len(self)} entries, with the groups of their examples"])

    def _repr_html_(self) -> str:
        """The full table, for a notebook."""

        def line(cells: Iterable[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        return f"<table>{line(HEADER, 'th')}{''.join(line(r, 'td') for r in self._rows())}</table>"
