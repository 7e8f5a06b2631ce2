"""The best learning rate from a sweep that does not stop at an edge of its grid."""

import math
from collections.abc import Callable, Sequence

MOST_EXTENSIONS = 6


def sweep(loss: Callable[[float], float], rates: Sequence[float]) -> dict[float, float]:
    """Loss by learning rate: half decades, more while the best is at an edge, then quarters around the best.

    Args:
        loss: Final loss at a rate; inf if training diverged.
        rates: The half decades to start from.

    Returns:
        Every rate tried, in increasing order, with its loss.

    Example:
        >>> sweep(lambda rate: abs(rate - 0.1), [0.001, 0.0032, 0.01]).keys()
        dict_keys([0.001, 0.0032, 0.01, 0.032, 0.056, 0.1, 0.18, 0.32])
    """
    found = {rate: loss(rate) for rate in rates}
    for _ in range(MOST_EXTENSIONS):
        beyond = _beyond(found)
        if beyond is None:
            break
        found[beyond] = loss(beyond)
    best = ranked(found)[0]
    for quarters in (-1, 1):
        found[_shifted(best, quarters)] = loss(_shifted(best, quarters))
    return dict(sorted(found.items()))


def ranked(found: dict[float, float]) -> list[float]:
    """Rates from the lowest loss to the highest; of equal losses the smaller rate first."""
    return sorted(found, key=lambda rate: (found[rate], rate))


def _beyond(found: dict[float, float]) -> float | None:
    """The rate outside the grid that has to be tried before its best can be believed."""
    best = ranked(found)[0]
    if best == min(found) or math.isinf(found[best]):
        return _shifted(min(found), -2)
    if best == max(found):
        return _shifted(best, 2)
    return None


def _shifted(rate: float, quarters: int) -> float:
    """The rate that many quarter decades away, to two digits, without the rounding adding up."""
    return float(f"{10 ** ((round(4 * math.log10(rate)) + quarters) / 4):.1e}")
