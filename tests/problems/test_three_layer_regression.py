"""The regression of the 2022 paper."""

import pytest
import torch
from torch.nn.functional import leaky_relu
from torch.testing import assert_close

from isoloss.problems import ThreeLayerRegression, descend

EPS = torch.finfo(torch.float64).eps


def literal(problem, w, i):
    """The loss of one run, layer by layer."""
    first, second, third = (weight[i] for weight in problem.split(w))
    x, y = problem.data[i], problem.target[i]
    h = leaky_relu(first @ x, 0.1)
    h = leaky_relu(second @ h, 0.1)
    return 0.5 * torch.norm(y - third @ h) ** 2


def test_the_loss_is_half_the_squared_error():
    problem, w = ThreeLayerRegression.sample((3,))
    assert problem.size == 6 * 5 + 7 * 6 + 8 * 7 and w.shape == (3, 128)
    assert_close(problem(w), torch.stack([literal(problem, w, i) for i in range(3)]))


def test_plain_descent_ends_where_the_published_code_does():
    """Figure 4.5: rerun unmodified, the published code ends its five runs at these losses, to three digits."""
    problem, w = ThreeLayerRegression.published()
    losses = descend(problem, w, lr=1e-4, steps=300).losses[-2]
    assert_close(losses, torch.tensor([2.39, 2.17, 1.75, 2.03, 1.32]).double(), rtol=0, atol=0.005)


@pytest.mark.parametrize("layer", [1, 2])
def test_each_layer_has_its_group(layer):
    problem, w = ThreeLayerRegression.published(layer=layer)
    g, h = problem.group.sample((2, 5), scale=0.3, dtype=torch.float64)
    moved = problem.act(g, w)
    changed = [
        (a != b).flatten(1).any(1).all() for a, b in zip(problem.split(moved), problem.split(w), strict=True)
    ]
    assert changed == [layer == 1, True, layer == 2]
    # Pre-activations of 4 samples through a pseudo-inverse: eps times the condition number of the hidden layer.
    inner = problem.data if layer == 1 else leaky_relu(problem.split(w)[0] @ problem.data, 0.1)
    bound = 64 * EPS * float(torch.linalg.cond(inner).max() * torch.linalg.cond(g).max())
    assert_close(problem(moved), problem(w), rtol=bound, atol=0)
    both = problem.act(g @ h, w)
    assert_close(problem.act(g, problem.act(h, w)), both, rtol=0, atol=bound * float(both.abs().max()) * 16)


def test_the_layers_do_not_commute():
    """Why there is one group per problem and no product."""
    one, w = ThreeLayerRegression.published(layer=1)
    two, _ = ThreeLayerRegression.published(layer=2)
    g, h = one.group.sample((5,), dtype=torch.float64), two.group.sample((5,), dtype=torch.float64)
    first, second = two.act(h, one.act(g, w)), one.act(g, two.act(h, w))
    assert_close(one(first), one(second))
    assert ((first - second).norm(dim=-1) > 1e-3).all()


def test_the_published_form_moves_the_weights_at_the_identity():
    """Eq. (4.13) with a left inverse: W -> sigma^-1(g sigma(W X)) X^+ projects W even for g = 1; ours does not."""
    problem, w = ThreeLayerRegression.published()
    first = problem.split(w)[0]
    published = first @ problem.data @ torch.linalg.pinv(problem.data)
    assert ((published - first).norm(dim=(-2, -1)) > 0.1).all()
    same = problem.act(problem.group.identity(dtype=torch.float64), w)
    assert_close(same, w, rtol=0, atol=64 * EPS * float(torch.linalg.cond(problem.data).max()))


def test_a_seed_gives_a_problem():
    generators = [torch.Generator().manual_seed(s) for s in (0, 0, 1)]
    draws = [ThreeLayerRegression.sample((2,), generator=generator)[1] for generator in generators]
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()


def test_more_samples_than_width_are_refused():
    with pytest.raises(
        ValueError, match="no more samples than inputs or hidden units; got 6 samples, 6 targets, 5 inputs"
    ):
        ThreeLayerRegression(torch.rand(5, 6), torch.rand(8, 6))
    with pytest.raises(ValueError, match="layer must be 1 or 2 and slope positive; got 3"):
        ThreeLayerRegression(layer=3)


def test_with_more_samples_than_inputs_the_loss_would_move():
    """Why: the pseudo-inverse is no left inverse then."""
    problem, w = ThreeLayerRegression.published([0])
    wide = torch.rand(5, 7, dtype=torch.float64)
    with pytest.raises(ValueError, match="approximately"):
        ThreeLayerRegression(wide, torch.rand(8, 7, dtype=torch.float64))
    assert (torch.linalg.pinv(wide) @ wide - torch.eye(7)).norm() > 1
    assert problem(w).isfinite().all()
