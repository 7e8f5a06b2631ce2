"""What the pages of the documentation show runs as written, block after block, from the top of each page."""

import os
from pathlib import Path

import pytest

from pages import ROOT, blocks

PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in (ROOT / "docs").rglob("*.md")
    if blocks(str(page.relative_to(ROOT)))
)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs_in_order(page, tmp_path, monkeypatch):
    if "dask" in "".join(blocks(page)):
        pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    scope: dict = {"__name__": Path(page).stem}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page}, block {number}", "exec"), scope)  # noqa: S102


def test_the_pages_that_show_python_are_looked_at():
    assert {
        "docs/objectives.md",
        "docs/solvers.md",
        "docs/problems.md",
        "docs/finding.md",
        "docs/landscape.md",
        "docs/reproduce.md",
    } <= set(PAGES)
    assert os.path.isdir(ROOT / "docs")
