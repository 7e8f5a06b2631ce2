"""What the experiments of Chapter 2 share: batches of two layers, their quantities, moves at fixed function."""

import pytest
import torch
from torch.testing import assert_close

from isoloss import flow
from isoloss.reproduce.experiments._shared_two_layers import (
    HOMOGENEOUS,
    MODULES,
    U,
    V,
    check_activations,
    losses,
    members,
    moved,
    normal,
    outputs,
    quantity,
    rank_correlation,
    rounds,
    scalings,
    size,
    stacked,
    steps_to,
    train,
    with_quantity,
)

SIZES = (3, 9, 4)
EPS = torch.finfo(torch.float64).eps


def draw(seed=0):
    return normal(SIZES, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("activation", MODULES)
def test_members_descend_as_if_alone(activation):
    """The literal twin: one network, one step after another."""
    (a, target), (b, _) = draw(0), draw(1)
    ends, curves = train(stacked([a, b]), target, activation, 0.01, [1, 3])
    for start, end, curve in zip((a, b), members(ends), curves, strict=True):
        u, v = (start[k].clone().requires_grad_() for k in (U, V))
        values = []
        for _ in range(4):
            loss = (u @ MODULES[activation]()(v) - target).square().sum()
            values.append(loss.item())
            gu, gv = torch.autograd.grad(loss, (u, v))
            last = u.detach(), v.detach()
            u, v = ((w - 0.01 * g).detach().requires_grad_() for w, g in ((u, gu), (v, gv)))
        # Three steps with sums of nine terms; a loss of some tens.
        assert_close(curve, [values[0], values[1], values[3]], rtol=1e3 * EPS, atol=0)
        assert_close((end[U], end[V]), last, rtol=0, atol=1e3 * EPS)


@pytest.mark.parametrize("activation", MODULES)
@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_moves_keep_the_function_and_change_the_quantity(activation, factor):
    here, _ = draw()
    there = moved(here, activation, factor)
    # A pseudo-inverse of 9 x 4 activations, condition below 1e4 here.
    assert_close(outputs(there, activation), outputs(here, activation), rtol=0, atol=1e4 * 9 * EPS)
    assert abs(float(quantity(there, activation) - quantity(here, activation))) > 1.0


@pytest.mark.parametrize("activation", MODULES)
def test_the_factor_one_moves_nothing(activation):
    here, _ = draw()
    assert_close(moved(here, activation, 1.0), here, rtol=0, atol=1e3 * EPS)


@pytest.mark.parametrize("activation", HOMOGENEOUS)
def test_the_quantity_is_set_on_the_orbit(activation):
    here, _ = draw()
    there = with_quantity(here, SIZES, scalings(SIZES), -7.0)
    # The stopping rule of `balance`: a step of length sqrt(eps) leaves a gap of its square times the size.
    assert_close(float(quantity(there, activation)), -7.0, rtol=0, atol=1e3 * EPS * float(size(here)))
    assert_close(outputs(there, activation), outputs(here, activation), rtol=0, atol=1e3 * EPS)
    each = there[V].square().sum(1) - there[U].square().sum(0)
    assert_close(each, each.mean().expand_as(each), rtol=1e-9, atol=0)


def test_the_quantity_is_that_of_the_scalings():
    here, _ = draw()
    (told,) = flow.conserved_quantities(scalings(SIZES)).evaluate(here).values()
    for activation in HOMOGENEOUS:
        assert_close(quantity(here, activation), -told.sum() / 2, rtol=10 * EPS, atol=0)


def test_sizes_and_losses_are_those_of_members():
    (a, target), (b, _) = draw(0), draw(1)
    both = stacked([a, b])
    assert_close(size(both), torch.stack([size(a), size(b)]))
    expected = torch.stack([losses(p, target, "tanh") for p in (a, b)])
    assert_close(losses(both, target, "tanh"), expected)


def test_rounds_increase_to_the_last_step():
    told = rounds(500, 20)
    assert told[0] == 1 and told[-1] == 500 and all(a < b for a, b in zip(told, told[1:], strict=False))
    assert rounds(1, 5) == [1]


def test_steps_are_interpolated_where_the_loss_decays_exponentially():
    steps = [1, 4, 16]
    history = [2.0 ** (3 - s / 2) for s in (0, *steps)]  # 8 at the start, 1 after 6 steps
    assert steps_to(1.0, steps, history) == pytest.approx(6.0)
    assert steps_to(8.0, steps, history) == 0.0
    assert steps_to(1e-9, steps, history) is None
    assert steps_to(1.0, steps, [8.0, None, None, None]) is None


@pytest.mark.parametrize(("names", "got"), [(("relu", "gelu"), "gelu"), ((), "none")])
def test_unknown_activations_are_refused(names, got):
    with pytest.raises(ValueError, match=rf"some of identity, relu, tanh, sigmoid; got '?{got}'?; write"):
        check_activations(names)


def test_who_never_arrives_took_longest():
    assert rank_correlation([1.0, 2.0, 3.0], [5.0, 6.0, None])["rho"] == pytest.approx(1.0)
    assert rank_correlation([1.0, 2.0, 3.0], [None, 6.0, 5.0])["rho"] == pytest.approx(-1.0)
    assert rank_correlation([1.0, 2.0], [3.0, 3.0]) == {"rho": None, "p": None}
