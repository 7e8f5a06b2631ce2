"""What the page on ensembles shows runs as written, and names what exists."""

import json
import re
from pathlib import Path

from isoloss.ensemble import RECIPES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ensemble.md").read_text()


def test_the_example_runs():
    scope: dict = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0], scope)  # noqa: S102
    assert scope["classes"].shape == (200,) and scope["mean"].shape == (200, 3)
    assert len(scope["curve"].accuracy) == 3


def test_the_table_of_recipes_names_all():
    table = PAGE.split("### The baselines")[1].split("\n\n")[1]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == list(RECIPES)


def test_the_table_of_speeds_is_that_of_the_results():
    rows = json.loads((ROOT / "benchmarks" / "results" / "ensemble.json").read_text())["rows"]
    written = re.findall(r"^\| ([\w. ]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.M)
    assert written == [
        (r["network"], str(r["batch"]), *(f"{r['times_faster'][k]:.1f}" for k in ("auto", "vmap")))
        for r in rows
    ]
