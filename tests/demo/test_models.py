"""The demo's networks are what their seeds say, and have symmetries to move along."""

import pytest
import torch

from isoloss.demo._models import MODELS, build
from isoloss.finding import find


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 20)], ids=str)
def test_every_model_reads_every_image(name, shape):
    assert build(name, shape, 7, 16, seed=0)(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", MODELS)
def test_seed_alone_sets_the_initialization(name):
    state = torch.random.get_rng_state()
    a, b, c = (build(name, (1, 8, 8), 10, 16, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_continuous_symmetries(name):
    assert find(build(name, (1, 8, 8), 10, 16, seed=0), torch.randn(4, 1, 8, 8)).dim > 0
