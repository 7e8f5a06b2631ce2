"""The table of the docs and the registry name the same objectives."""

import re
from pathlib import Path

import pytest

from isoloss.teleport import OBJECTIVES

TABLE = (Path(__file__).parents[3] / "docs" / "objectives.md").read_text()


def test_every_objective_is_in_the_table():
    rows = re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \|", TABLE, re.M)
    assert {name: cls for name, cls in rows} == {name: cls.__name__ for name, cls in OBJECTIVES.items()}


@pytest.mark.parametrize(
    "name", [n for n, cls in OBJECTIVES.items() if n != "custom" and getattr(cls, "passes", None) == 0]
)
def test_what_costs_nothing_says_so(name):
    (passes,) = re.findall(rf"^\| `{name}` \|.*\| ([^|]*) \|[^|]*\|$", TABLE, re.M)
    assert passes == "0"
