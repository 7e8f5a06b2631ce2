"""Symmetries as a table, in text and in HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isoloss.symmetry._symmetries import Symmetries
    from isoloss.symmetry._symmetry import Symmetry

HEADER = ("group", "dim", "family", "acts on", "holds", "error")


def rows(symmetries: Iterable[Symmetry]) -> list[tuple[str, ...]]:
    """One tuple of cells per symmetry, in the order of `HEADER`."""
    return [
        (
            s.name,
            str(s.dim) if s.dim else "discrete",
            s.family,
            acts_on(s),
            s.holds,
            "not verified" if s.error is None else f"{s.error:.0e}",
        )
        for s in symmetries
    ]


def acts_on(symmetry: Symmetry, limit: int = 6) -> str:
    """The parameters that move, shortened to the first few."""
    names = symmetry.parameters
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def summary(symmetries: Symmetries) -> str:
    """The line below the table."""
    discrete = sum(not s.dim for s in symmetries)
    return f"{len(symmetries)} symmetries, continuous dimension {symmetries.dim}, {discrete} discrete"


def as_text(symmetries: Symmetries) -> str:
    """A table with aligned columns, a summary and the notes."""
    body = [HEADER, *rows(symmetries)]
    widths = [max(len(row[i]) for row in body) for i in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in body]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join([*lines, "", summary(symmetries), *(f"left out: {note}" for note in symmetries.notes)])


def as_html(symmetries: Symmetries) -> str:
    """The same table for a notebook."""

    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows(symmetries))
    notes = "".join(f"<li>left out: {html.escape(n)}</li>" for n in symmetries.notes)
    return (
        f"<table><thead>{line(HEADER, 'th')}</thead><tbody>{body}</tbody></table>"
        f"<p>{html.escape(summary(symmetries))}</p>" + (f"<ul>{notes}</ul>" if notes else "")
    )
