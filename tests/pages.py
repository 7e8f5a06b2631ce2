"""Python that the documentation shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    """The blocks of Python of a page, in order; the path is relative to the repository."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
