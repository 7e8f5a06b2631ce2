"""What the page on connectivity shows runs as written, and names what exists."""

import re
from pathlib import Path

from isoloss import connect

PAGE = (Path(__file__).parents[2] / "docs" / "connect.md").read_text()


def test_the_example_runs():
    scope: dict = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0], scope)  # noqa: S102
    assert scope["g"] and scope["g"].residual < 1e-12
    assert connect.profile(scope["gamma"], scope["loss"]).variation < 1e-12
    assert connect.barrier(scope["a"], scope["b"], scope["loss"]).height > 1e-2
    assert len(scope["axes"].lines) == 2


def test_the_table_names_only_what_exists():
    rows = [
        line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 4
    ]
    named = [n for row in rows for n in re.findall(r"`(\w+)", row) if n != "failures"]
    assert len(named) > 10 and set(named) <= set(connect.__all__)


def test_every_name_of_the_package_can_be_had():
    assert all(hasattr(connect, name) for name in connect.__all__)
    assert all(hasattr(connect.failures, name) for name in connect.failures.__all__)
