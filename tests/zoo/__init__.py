"""The zoo: small architectures with the symmetries that theory says they have.

``ZOO`` maps a name to an ``Entry``. Each builds in milliseconds with widths 3 to 12, deterministically, at a generic
point of its parameters. ``python tests/nullspace.py`` prints what is expected beside the measured null space.
"""

from importlib.util import find_spec

from zoo import adapters, attention, conv, external, mlp, negative, noise, norm, recurrent, shared  # noqa: F401
from zoo._entry import ENTRIES, Entry, Expected, generic_, redraw

ZOO: dict[str, Entry] = {
    name: entry for name, entry in ENTRIES.items() if entry.requires is None or find_spec(entry.requires)
}

__all__ = ["ENTRIES", "ZOO", "Entry", "Expected", "generic_", "redraw"]
