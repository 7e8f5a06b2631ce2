from dataclasses import dataclass
from fractions import Fraction
from math import inf

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Orthogonal, Permutation, PositiveScaling, Translation
from isoloss.symmetry import Block, Frame, Slot, Symmetry
from isoloss.teleport import SOLVERS, Balance, GradientNorm, Point, TransportedAscent
from isoloss.teleport._scalings import Scalings
from networks import attention_symmetries, linear_symmetries, mlp, mlp_symmetries


def solve(objective, symmetries, tensors, gradients, radius, rates=None, **options):
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)
    point = Point(tensors, gradients, rates or dict.fromkeys(tensors, 0.1))
    return TransportedAscent(**options).solve(objective, symmetries, scalings, point, radius)


def linear(*widths):
    model = mlp(*widths, activation=nn.Identity, bias=False).double()
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    return list(linear_symmetries(model)), tensors, {n: torch.randn_like(t) for n, t in tensors.items()}


def total(tensors):
    return sum(t.square().sum() for t in tensors.values())


def test_predictions_are_what_the_elements_give():
    symmetries, tensors, gradients = linear(5, 4, 6, 3)
    found = solve(GradientNorm(), symmetries, tensors, gradients, 0.2)
    assert_close(found.before, total(gradients))
    for symmetry, g in zip(symmetries, found.elements, strict=True):
        gradients = {**gradients, **symmetry.transport(g, gradients)}
    assert_close(found.after, total(gradients))
    assert_close(found.size, torch.tensor(0.2).double())


def test_weights_count_in_matrices_too():
    symmetries, tensors, gradients = linear(5, 4, 3)
    rates = {"0.weight": 0.1, "2.weight": 0.4}
    found = solve(GradientNorm(), symmetries, tensors, gradients, 0.2, rates)
    moved = symmetries[0].transport(found.elements[0], gradients)
    weighted = 0.25 * moved["0.weight"].square().sum() + moved["2.weight"].square().sum()
    assert_close(found.after, weighted)


def test_scalings_come_first_and_matrices_see_them():
    model = mlp(5, 4, 6, 3).double()
    symmetries = [*linear_symmetries(model)[:1], *mlp_symmetries(model)]
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    gradients = {n: torch.randn_like(t) for n, t in tensors.items()}
    found = solve(GradientNorm(), symmetries, tensors, gradients, 0.2)
    moved = gradients
    for i in (1, 2, 0):
        moved = {**moved, **symmetries[i].transport(found.elements[i], moved)}
    assert_close(found.after, total(moved))


def test_pairs_that_share_a_layer_reach_the_minimum_together():
    """The minimal norm of W3 W2 W1 is three times the sum of the singular values of the product to the 2/3."""
    symmetries, tensors, _ = linear(4, 4, 4, 4)
    tensors = {n: t + 2 * torch.eye(4) for n, t in tensors.items()}
    found = solve(Balance(), symmetries, tensors, {}, inf, rounds=200)
    product = tensors["4.weight"] @ tensors["2.weight"] @ tensors["0.weight"]
    best = 3 * torch.linalg.svdvals(product).pow(2 / 3).sum()
    # The ridge of 3e-4 keeps the minimum away from infinity, and by its square from the true one.
    assert_close(found.after, best, rtol=1e-5, atol=0.0)


def test_a_radius_of_zero_moves_nothing():
    symmetries, tensors, gradients = linear(5, 4, 3)
    found = solve(GradientNorm(), symmetries, tensors, gradients, 0.0)
    assert found.elements == [None] and found.size == 0.0
    assert found.before == found.after


def test_gradients_that_are_not_finite_are_reported_not_solved():
    symmetries, tensors, gradients = linear(5, 4, 3)
    gradients["0.weight"][0, 0] = torch.nan
    found = solve(GradientNorm(), symmetries, tensors, gradients, 0.1)
    assert found.before.isnan() and found.elements == [None]


def test_more_sweeps_find_no_less():
    model = mlp(5, 16, 16, 3).double()
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    gradients = {n: torch.randn_like(t) for n, t in tensors.items()}
    once, often = (
        solve(GradientNorm(), list(mlp_symmetries(model)), tensors, gradients, 0.5, sweeps=k) for k in (1, 6)
    )
    assert often.after >= once.after


W = Block.whole((4, 4))


@pytest.mark.parametrize(
    ("symmetry", "used"),
    [
        (Symmetry(PositiveScaling(4), (Slot("w", W, (0,)),)), True),
        (Symmetry(GeneralLinear(4), (Slot("w", W, (0,)),)), True),
        (Symmetry(GeneralLinear(4), (Slot("w", W, (0,)), Slot("w", W, (1,), Fraction(-1)))), False),
        (Symmetry(Orthogonal(4), (Slot("w", W, (0,)),)), False),
        (Symmetry(Permutation(4), (Slot("w", W, (0,)),)), False),
        (Symmetry(Translation(4), (Slot("w", W, (0,)),)), False),
        (
            Symmetry(
                GeneralLinear(4), (Slot("w", W, (0,), Fraction(1), (Frame("n", Block.whole((4,)), (0,)),)),)
            ),
            False,
        ),
    ],
    ids=["scaling", "GL", "conjugation", "O", "permutation", "translation", "through a norm"],
)
def test_what_it_uses(symmetry, used):
    assert TransportedAscent().uses(symmetry) is used


def test_fused_queries_and_keys_are_not_a_conjugation():
    from networks import Attention

    assert all(TransportedAscent().uses(s) for s in attention_symmetries(Attention()))


@dataclass
class Sharpness:
    name = "sharpness"
    lower = True


def test_it_says_what_it_needs():
    with pytest.raises(
        TypeError, match=r"must have form\(point\), a sum of squares; got Sharpness; choose a solver"
    ):
        solve(Sharpness(), [], {}, {}, 0.1)
    with pytest.raises(
        ValueError, match="gradient norm has no maximum on an orbit; got radius inf; give a finite"
    ):
        solve(GradientNorm(), [], {}, {}, inf)


@pytest.mark.parametrize("argument", ["sweeps", "rounds"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True])
def test_it_goes_a_whole_number_of_times(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be a whole number of at least 1; got "):
        TransportedAscent(**{argument: value})


def test_matrices_keep_half_of_the_digits():
    """The bound is where eps cond(g) = sqrt(eps); scalings do not round, and have none."""
    symmetries, tensors, gradients = linear(5, 4, 3)
    assert solve(GradientNorm(), symmetries, tensors, gradients, 9.0).size == 9.0
    message = r"must leave half of the digits of torch.float64; got radius 9.1 and GL\(4\) on 0.weight, 2.weight; give"
    with pytest.raises(ValueError, match=message + r" at most 9.01\."):
        solve(GradientNorm(), symmetries, tensors, gradients, 9.1)
    scalings = list(mlp_symmetries(mlp(5, 4, 3, bias=False)))
    assert_close(solve(GradientNorm(), scalings, tensors, gradients, 9.1).size, torch.tensor(9.1).double())


def test_matrices_that_cannot_be_found_are_refused():
    """The first pair takes the squares of float32 beyond all numbers; there are no Gram matrices for the second."""
    symmetries, tensors, gradients = linear(5, 4, 6, 3)
    tensors = {n: t.float() for n, t in tensors.items()}
    gradients = {n: 1e17 * g.float() for n, g in gradients.items()}
    message = "matrices must be finite; got none at radius 9 for the gradient norm .*; nothing was changed; use a sm"
    with pytest.raises(ValueError, match=message):
        solve(GradientNorm(), symmetries, tensors, gradients, 9.0)


def test_a_sum_that_vanishes_is_not_predicted_below_zero():
    """One pair, without a bias, lowered from far away: what remains is less than the rounding of the sum."""
    symmetries, tensors, _ = linear(5, 4, 3)
    for k in range(20):
        torch.manual_seed(k)
        large, small = (torch.randn_like(t).float() for t in tensors.values())
        gradients = dict(zip(tensors, (1e6 * large, 1e-6 * small), strict=True))
        found = solve(GradientNorm(lower=True), symmetries, tensors, gradients, inf)
        assert found.after >= 0.0


def test_it_is_registered():
    assert SOLVERS["transported-ascent"] is TransportedAscent
