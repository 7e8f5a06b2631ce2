"""The papers' actions: which keep the loss, which do nothing at the identity, and that the published do neither."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.reproduce._actions import First, Second, like, zeros
from isoloss.reproduce._network import Perceptron, outputs

EXACT = {
    "first": First("exact"),
    "first, difference": First("exact", "difference"),
    "second": Second("moved"),
    "second, difference": Second("moved", "difference"),
}
PUBLISHED = {"first": First(), "second": Second()}
DIFFERENCE = {name: action for name, action in EXACT.items() if "difference" in name}

# Sums of at most 9 products each through three layers, pseudo-inverses of random matrices with condition below 100.
TOLERANCE = {"rtol": 1e3 * torch.finfo(torch.float64).eps * 100, "atol": 1e-11}


@pytest.fixture
def network():
    generator = torch.Generator().manual_seed(0)
    weights = tuple(w.detach() for w in Perceptron((9, 7, 8, 5), generator).double().weights)
    x, other = (torch.randn(4, 9, dtype=torch.float64, generator=generator) for _ in range(2))
    elements = tuple(0.1 * torch.randn(h, h, dtype=torch.float64, generator=generator) for h in (7, 8))
    return weights, elements, x, other


@pytest.mark.parametrize("action", EXACT.values(), ids=EXACT)
def test_exact_actions_keep_the_outputs_of_the_batch(action, network):
    weights, elements, x, other = network
    moved = action(weights, elements, x)
    assert_close(outputs(moved, x), outputs(weights, x), **TOLERANCE)
    assert not torch.allclose(outputs(moved, other), outputs(weights, other), rtol=1e-3)
    assert all(not torch.allclose(a, b, rtol=1e-3) for a, b in zip(moved, weights, strict=True))


@pytest.mark.parametrize("action", PUBLISHED.values(), ids=PUBLISHED)
def test_published_actions_do_not(action, network):
    weights, elements, x, _ = network
    assert not torch.allclose(outputs(action(weights, elements, x), x), outputs(weights, x), rtol=1e-3)


@pytest.mark.parametrize("action", DIFFERENCE.values(), ids=DIFFERENCE)
def test_difference_forms_do_nothing_at_the_identity(action, network):
    weights, _, x, _ = network
    for moved, w in zip(action(weights, zeros(weights), x), weights, strict=True):
        assert_close(moved, w, **TOLERANCE)


@pytest.mark.parametrize("action", [First("exact"), Second("moved")], ids=["first", "second"])
def test_forms_of_the_papers_move_the_weights_at_the_identity(action, network):
    """The batch is smaller than the layers, so the pseudo-inverse forgets what other inputs need."""
    weights, _, x, other = network
    moved = action(weights, zeros(weights), x)
    assert_close(outputs(moved, x), outputs(weights, x), **TOLERANCE)
    assert not torch.allclose(outputs(moved, other), outputs(weights, other), rtol=1e-2)


def test_first_order_is_first_order(network):
    """Halving the element divides the error of the outputs by four; the exact action has none."""
    weights, elements, x, _ = network

    def error(scale):
        moved = First("first order")(weights, [scale * t for t in elements], x)
        return (outputs(moved, x) - outputs(weights, x)).norm().item()

    # The next order is 1e-2 relative at this size.
    assert error(1e-2) / error(5e-3) == pytest.approx(4.0, rel=0.05)


def test_random_elements_have_the_sizes_given(network):
    _, elements, _, _ = network
    drawn = like(elements, torch.Generator().manual_seed(1))
    for a, b in zip(drawn, elements, strict=True):
        assert_close(a.norm(), b.norm())
        assert not torch.allclose(a, b)
