"""What the page on problems shows runs as written, and names what exists."""

import re
from pathlib import Path

import torch

from isoloss.problems import PROBLEMS
from isoloss.teleport import theory

PAGE = (Path(__file__).parents[2] / "docs" / "problems.md").read_text()


def test_the_example_runs(capsys):
    scope: dict = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0], scope)  # noqa: S102
    assert scope["published"].losses.shape == (1001, 100)
    torch.testing.assert_close(
        scope["problem"](scope["moved"]), scope["problem"](scope["w"]), rtol=1e-3, atol=1e-3
    )
    assert "tensor" in capsys.readouterr().out


def test_the_tables_name_every_problem_and_only_functions_that_exist():
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("|")]
    assert {row[1].strip(" `") for row in rows} >= set(PROBLEMS)
    theorems = PAGE.split("## Theorems")[1].split("###")[0]
    named = re.findall(r"`(\w+)`", theorems)
    assert len(named) > 10 and set(named) <= set(theory.__all__)
