"""What the README shows runs as written."""

import re
from pathlib import Path

import pytest
import torch

import isoloss
from pages import blocks

README = Path(__file__).parents[1] / "README.md"
BLOCKS = blocks("README.md")


def test_the_example_runs_and_keeps_the_function(capsys):
    torch.manual_seed(0)
    scope: dict = {}
    before, after = BLOCKS[0].split("symmetries.act_")
    exec(before, scope)  # noqa: S102
    outputs = scope["model"](scope["x"])
    moved, training = after.split("\n", 1)
    exec("symmetries.act_" + moved, scope)  # noqa: S102
    # Scales of e^0.5 and a sum over 128 units, in float32: a few hundred roundings, each of size eps.
    torch.testing.assert_close(
        scope["model"](scope["x"]), outputs, rtol=0, atol=256 * torch.finfo(torch.float32).eps
    )
    exec(training, scope)  # noqa: S102
    printed = capsys.readouterr().out
    assert "R+^128" in printed and "S_128" in printed and "Jump" in printed


def test_the_example_is_short():
    lines = [
        line for line in BLOCKS[0].splitlines() if line.strip() and not line.startswith(("import", "from"))
    ]
    assert len(lines) <= 10


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README.read_text()))
def test_links_lead_somewhere(link):
    assert (README.parent / link).exists()


def test_the_names_at_the_root_exist():
    assert all(hasattr(isoloss, name) for name in isoloss.__all__)
