"""The search of everybody's best learning rate, which does not stop at an edge of its grid."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

MOST_EXTENSIONS = 6
HALF_DECADES = range(-1, 3)
"""Where a sweep begins; two quarter decades around the best are added to these four, at least."""

Told = TypeVar("Told")


def sweep(
    contenders: Sequence[str],
    rate: float,
    evaluate: Callable[[Sequence[tuple[str, float]]], Sequence[Told]],
    score: Callable[[Told], Any],
    halves: Iterable[int] = HALF_DECADES,
    refinements: int = 1,
) -> tuple[dict[str, dict[float, Told]], dict[str, float]]:
    """Search everybody's best learning rate: half decades, further while a best is at an edge, then closer.

    Args:
        contenders: Who.
        rate: The shared rate, around which the search begins.
        evaluate: What came of each pair of a contender and a rate.
        score: Of that; the lowest is best, and of equal ones that of the lowest rate.
        halves: The first rates, in half decades from the shared one.
        refinements: How often to look closer around the best: a quarter decade away, an eighth, and so on.

    Returns:
        By contender what came of every rate tried, and its best rate.
    """
    found: dict[str, dict[float, Told]] = {name: {} for name in contenders}

    def run(wanted: Iterable[tuple[str, float]]) -> bool:
        new = [(name, r) for name, r in wanted if r not in found[name]]
        for (name, r), told in zip(new, evaluate(new) if new else (), strict=True):
            found[name][r] = told
        return bool(new)

    def best(name: str) -> float:
        return min(found[name], key=lambda r: (score(found[name][r]), r))

    run((name, shifted(rate, k)) for name in contenders for k in halves)
    for _ in range(MOST_EXTENSIONS):
        bests = [(best(name), found[name]) for name in contenders]
        beyond = [shifted(b, -1) for b, of in bests if b == min(of)]
        beyond += [shifted(b, 1) for b, of in bests if b == max(of)]
        # What one tries all try: a seed that diverges must not end the search of its contender.
        if not run((name, r) for name in contenders for r in sorted(set(beyond))):
            break
    for i in range(1, refinements + 1):
        here = {name: best(name) for name in contenders}
        run([(name, shifted(b, sign / 2**i)) for name, b in here.items() for sign in (-1, 1)])
    return found, {name: best(name) for name in contenders}


def shifted(rate: float, halves: float) -> float:
    """The rate so many half decades away, to two digits."""
    return float(f"{rate * 10 ** (halves / 2):.1e}") if halves else rate
