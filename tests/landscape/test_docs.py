"""The page on the landscape names what there is, its example runs, and its table of claims is complete."""

import json
import re
from pathlib import Path

from isoloss import landscape
from pages import blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "landscape.md").read_text()


def test_the_table_names_everything():
    table = PAGE.split("```python")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert set(landscape.__all__) - {"Inertia", "LeastTrace", "OrbitDimension"} <= named


def test_the_example_runs(capsys):
    scope: dict = {}
    exec(blocks("docs/landscape.md")[0], scope)  # noqa: S102
    printed = capsys.readouterr().out
    assert "dimension 700, the stabilizer 1800 of 2500" in printed
    assert "700 of 750 eigenvalues are zero" in printed and "explain 700" in printed
    assert len(scope["eigenvalues"]) == 50
    assert scope["least"].value < scope["least"].here


def test_its_table_is_that_of_the_benchmark():
    results = json.loads((ROOT / "benchmarks/results/landscape.json").read_text())
    for name, row in results["orbit_dimension"].items():
        numbers = f"{row['parameters']:,} | {row['algebra']:,} | {row['dimension']:,} | {row['seconds']:.3f}"
        assert f"| {name} | {numbers} |" in PAGE
