import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from dependent.nets import closure, convolutional, moved, perceptron, search_of, somewhere


def covectors(recursion):
    return [torch.randn_like(site.matrix) for site in recursion.sites]


@pytest.mark.parametrize("widths", [(6, 8, 7, 3), (6, 8, 20, 5, 3), (6, 14, 20, 9, 3)], ids=str)
@pytest.mark.parametrize("k", [1, 5, 12, 30])
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_covectors_on_the_weights_become_slopes_by_the_elements(widths, k, damping):
    """Against autograd through pseudo-inverses."""
    model = perceptron(*widths, activation=nn.Tanh)
    x, y = torch.randn(k, 6).double(), torch.randint(3, (k,))
    recursion = search_of(model, lambda: cross_entropy(model(x), y))[0].recursion
    recursion.damp(dict.fromkeys(range(1, len(widths) - 1), damping))
    given = covectors(recursion)
    for thetas in (recursion.start(), somewhere(recursion)):
        leaves = [t.clone().requires_grad_() for t in thetas]
        there = moved(model, x, leaves, recursion.bases, damping)
        expected = torch.autograd.grad(sum((c * w).sum() for c, w in zip(given, there, strict=True)), leaves)
        at = recursion.at(thetas, whole=True)
        # The search fits by a damped Cholesky factorization.
        assert_close([t.w for t in at.traces], list(there), rtol=1e-6, atol=1e-6)
        found = recursion.slopes(at, thetas, covectors=given)
        largest = max(s.abs().max().item() for s in expected)
        for a, b in zip(found, expected, strict=True):
            # Both sides invert Gram matrices of condition up to 1e6; the damping of ours is of the size of eps.
            assert_close(a, b, rtol=1e-6, atol=1e-6 * largest)


@pytest.mark.parametrize("k", [1, 4, 20])
def test_covectors_on_the_weights_of_convolutions(k):
    """Against difference quotients."""
    model = convolutional()
    recursion = search_of(model, closure(model, k))[0].recursion
    given, thetas = covectors(recursion), somewhere(recursion)
    direction, e = somewhere(recursion, 1.0), 1e-6
    slopes = recursion.slopes(recursion.at(thetas), thetas, covectors=given)

    def value(step):
        traces = recursion.at(
            [t + step * d for t, d in zip(thetas, direction, strict=True)], whole=True
        ).traces
        return sum((c * t.w).sum().item() for c, t in zip(given, traces, strict=True))

    along = sum((s * d).sum().item() for s, d in zip(slopes, direction, strict=True))
    assert_close(along, (value(e) - value(-e)) / (2 * e), rtol=1e-4, atol=1e-7)


def test_a_covector_may_be_none():
    model = perceptron(6, 8, 7, 3)
    recursion = search_of(model, closure(model, 5))[0].recursion
    given, thetas = covectors(recursion), somewhere(recursion)
    there = recursion.at(thetas)
    parts = [
        recursion.slopes(there, thetas, covectors=[c if i == j else None for j, c in enumerate(given)])
        for i in range(3)
    ]
    whole = recursion.slopes(there, thetas, covectors=given)
    for n, slope in enumerate(whole):
        assert_close(sum(part[n] for part in parts), slope)
