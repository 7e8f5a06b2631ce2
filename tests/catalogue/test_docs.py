"""The example on the page runs as written."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text()


def test_the_example_runs(capsys):
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0], {})  # noqa: S102
    first, second, *table = capsys.readouterr().out.splitlines()
    assert first.startswith("a loss symmetry (Def. 1.3.1) of the loss")
    assert second.startswith("no neural network symmetry (Def. 1.2.1) of the network")
    assert any(line.startswith("Z2^4") for line in table)
