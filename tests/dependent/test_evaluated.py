"""Any function of the weights as a function of the elements; all objectives are in teleport/solvers."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from dependent.nets import closure, convolutional, moved, perceptron, search_of, somewhere, symmetries_of
from isoloss.dependent import search


class Corner:
    """A function of some parameters only: the others have no gradient."""

    names = ("0.bias", "2.weight")

    def value(self, w):
        return sum(w[n].pow(3).sum() + w[n].square().sum() for n in self.names)

    def slope(self, w):
        return self.value(w), {n: 3 * w[n].square() + 2 * w[n] for n in self.names}


@pytest.mark.parametrize("k", [5, 30])
def test_what_has_no_gradient_counts_as_zero(k):
    model = perceptron(6, 8, 7, 3, activation=nn.Tanh)
    x, y = torch.randn(k, 6).double(), torch.randint(3, (k,))
    ascent, _ = search_of(model, lambda: cross_entropy(model(x), y), measure=Corner())
    thetas = somewhere(ascent)
    found = ascent.slopes(thetas)
    leaves = [t.clone().requires_grad_() for t in thetas]
    first, second, _ = moved(model, x, leaves, ascent.recursion.bases)
    value = Corner().value({"0.bias": first[:, -1], "2.weight": second[:, :-1]})
    assert_close(found.value, value.item(), rtol=1e-7, atol=0)
    for one, other in zip(found.slopes, torch.autograd.grad(value, leaves), strict=True):
        # Both sides invert Gram matrices of condition up to 1e6; the damping of ours is of the size of eps.
        assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("keep", ["outputs", "loss"])
@pytest.mark.parametrize(
    "model, k", [(perceptron(6, 8, 7, 3), 5), (convolutional(), 20)], ids=["few", "images"]
)
def test_a_search_finds_where_a_measure_is_better(model, k, keep, lower):
    class Length:
        def value(self, w):
            return sum(x.square().sum() for x in w.values())

        def slope(self, w):
            return self.value(w), {n: 2 * x for n, x in w.items()}

    loss = closure(model, k)
    there = search(symmetries_of(model), loss, steps=4, lower=lower, keep=keep, measure=Length())
    here = sum(p.detach().square().sum().item() for p in model.parameters())
    assert_close(there.before, here)
    assert there.after < there.before if lower else there.after > there.before
    assert_close(sum(m.square().sum().item() for m in there.matrices.values()), there.after)
