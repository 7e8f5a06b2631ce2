"""What docs/flow.md shows runs as written, and names what there is."""

import json
import re
from pathlib import Path

from isoloss import flow

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "flow.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_the_examples_run(capsys):
    scope: dict = {}
    for block in BLOCKS:
        exec(block, scope)  # noqa: S102
    assert len(BLOCKS) == 3 and "GL(6) between 0.weight and 1.weight" in capsys.readouterr().out
    values, target = scope["problem"].singular_values(scope["path"][-1])
    assert ((values - target).abs() <= scope["bound"][-1] * (1 + 1e-6) + 1e-6).all()


def test_what_it_names_exists():
    for name in re.findall(r"`flow\.(\w+)", TEXT):
        assert hasattr(flow, name)
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "flow").glob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", TEXT):
        assert f"def {name}(" in tests


def test_its_numbers_are_those_of_the_benchmarks():
    for row in json.loads((ROOT / "benchmarks/results/monitor.json").read_text())["rows"]:
        assert f"| {row['case']} | {row['parameters']:,} |" in TEXT
        assert f"| {row['record_ms']:.1f} ms | {100 * row['share']:.1f} % |" in TEXT
    for row in json.loads((ROOT / "benchmarks/results/drift.json").read_text())["rows"]:
        assert f"| {', '.join(f'{v:.2g}' for v in row['dual'])} |" in TEXT
