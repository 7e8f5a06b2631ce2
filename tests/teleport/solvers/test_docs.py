"""The table of the docs names every solver that is registered, by its name and its class."""

import re
from pathlib import Path

from isoloss.teleport import SOLVERS

DOCS = (Path(__file__).parents[3] / "docs" / "solvers.md").read_text()


def test_every_solver_is_in_the_table():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \|", DOCS, re.M))
    for name, cls in SOLVERS.items():
        assert rows.get(name) == cls.__name__


def test_every_row_of_the_table_is_complete():
    table = [line for line in DOCS.splitlines() if line.startswith("| `")]
    assert len(table) >= len(SOLVERS)
    for line in table:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 7 and all(cells)
