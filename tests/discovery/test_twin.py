"""The loop that benchmarks/discovery.py times does what `discover` does."""

import runpy
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from isoloss.discovery import Recipe
from isoloss.discovery._discover import objective
from isoloss.discovery._local import Local

BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "discovery.py"))


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("case", BENCHMARK["CASES"])
def test_objectives_and_their_gradients_agree(case, vectorize):
    recipe = Recipe.published()
    losses, learned, theta, x = BENCHMARK["parts"](case, recipe, 2)
    learned, theta, x = learned.double(), theta.double(), x.double()
    found = []
    for total in (
        BENCHMARK["twin_objective"](losses, learned.action, learned.h(), theta, x, recipe, vectorize),
        objective(Local(losses, learned.action, learned.h(), theta, x), recipe)[0],
    ):
        slopes = torch.autograd.grad(total, list(learned.parameters()))
        found.append((total.detach(), torch.cat([s.flatten() for s in slopes])))
    # Sums over a hundred thousand weights in float64.
    assert_close(found[0][0], found[1][0], rtol=1e-11, atol=0)
    assert float((found[0][1] - found[1][1]).norm()) <= 1e-11 * float(found[0][1].norm())
