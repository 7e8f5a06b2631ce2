"""How strongly the fit of a layer is damped: as little as keeps its matrix within bounds."""

from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from isoloss.dependent._factor import Cholesky
from isoloss.dependent._site import DAMPING, Site, Trace

# Candidates for the damping, in units of the mean squared singular value of the inputs: from what a fit hardly
# notices to where little is fitted but the largest directions.
LADDER = tuple(10.0 ** (0.5 * n) for n in range(-14, 3))


def deficient(site: Site, trace: Trace) -> bool:
    """Are there few samples, and are they dependent as far as their dtype tells, so that no fit is exact?"""
    if not (site.reads and site.few):
        return False
    assert trace.gram is not None
    eps, k = torch.finfo(trace.gram.dtype).eps, len(trace.gram)
    cholesky = Cholesky(trace.gram, DAMPING * eps)
    # Where a sample depends on those before, its pivot is the damping, give or take the rounding of k products.
    noise = DAMPING * eps * max(2.0, sqrt(k))
    return bool(cholesky.bad) or bool((cholesky.pivots <= noise * trace.gram.diagonal()).any())


def floor(trace: Trace) -> float:
    """The least damping where samples are dependent: half of the digits."""
    assert trace.gram is not None
    return torch.finfo(trace.gram.dtype).eps ** 0.5 * float(trace.gram.diagonal().amax())


def least(site: Site, x: Tensor, theta: Tensor | None, limit: Tensor) -> float:
    """The least damping of the ladder, above that of the site, with which its matrix moves by no more than a limit.

    Args:
        site: The layer.
        x: Its inputs.
        theta: The element of the pair that it makes.
        limit: Largest change of its matrix, Frobenius norm.
    """
    unit = float(torch.linalg.vector_norm(x)) ** 2 / min(x.shape)
    rungs = [unit * rung for rung in LADDER if unit * rung > site.damping]
    low, high = 0, len(rungs) - 1
    if high < 0:
        return site.damping
    while low < high:
        middle = (low + high) // 2
        moved = replace(site, damping=rungs[middle]).fitted(x, theta, bottom=False).w
        if bool(torch.linalg.vector_norm(moved - site.matrix) <= limit):
            high = middle
        else:
            low = middle + 1
    return rungs[low]
