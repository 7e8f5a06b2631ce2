"""What the numbers say about a claim."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One statement that the numbers confirm, refute or leave open.

    Attributes:
        statement: What is claimed, or asked.
        holds: Does it? None if the numbers cannot tell.
        evidence: The numbers.
        kind: "paper" for a claim of the paper, "control" for a question that the paper does not ask.
    """

    statement: str
    holds: bool | None
    evidence: str
    kind: Literal["paper", "control"] = "paper"

    def __str__(self) -> str:
        word = {True: "holds", False: "does not hold", None: "open"}[self.holds]
        return f"{self.statement}: {word} ({self.evidence})"


def overall(findings: Sequence[Finding]) -> str:
    """The verdict in a word or two: what became of the paper's claims."""
    outcomes = [f.holds for f in findings if f.kind == "paper"]
    if not outcomes or all(o is None for o in outcomes):
        return "open"
    if all(outcomes):
        return "reproduced"
    return "reproduced in part" if any(outcomes) else "not reproduced"
