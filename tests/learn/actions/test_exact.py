"""Exact symmetries of an optimizee, for many tasks at once."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.groups import (
    Affine,
    ComplexScaling,
    GeneralLinear,
    Group,
    Orthogonal,
    Permutation,
    PositiveScaling,
    Translation,
)
from isoloss.learn.actions import Action, Exact
from isoloss.symmetry import Block, Slot, Symmetry

EPS = torch.finfo(torch.float64).eps


def hidden(group: Group) -> Symmetry:
    """On the units between w1 (4, 3) and w2 (2, 4)."""
    slots = (
        Slot("w1", Block.whole((4, 3)), (0,)),
        Slot("w2", Block.whole((2, 4)), (1,), Fraction(-1)),
    )
    return Symmetry(group, slots)


def draw(n: int = 3) -> dict[str, Tensor]:
    return {"w1": torch.randn(n, 4, 3, dtype=torch.float64), "w2": torch.randn(n, 2, 4, dtype=torch.float64)}


@pytest.mark.parametrize("group", [GeneralLinear(4), PositiveScaling(4), Orthogonal(4)], ids=lambda g: g.name)
def test_outputs_stay_for_each_task_and_derivatives_are_those_of_a_loop(group):
    action = Exact(hidden(group))
    assert isinstance(action, Action)
    w = draw()
    a = group.project(0.3 * torch.randn(3, *group.algebra_shape, dtype=torch.float64))

    def moved(a: Tensor, w: dict) -> dict:
        return action.act(group.exp(a), w, {})

    new = vmap(moved)(a, w)
    # exp, inverse and two products on an axis of 4; singular values of g lie within exp(+-|a|).
    bound = (
        8
        * 4**1.5
        * EPS
        * (2 * group.norm(a).max()).exp().item()
        * w["w1"].norm().item()
        * w["w2"].norm().item()
    )
    assert_close(new["w2"] @ new["w1"], w["w2"] @ w["w1"], rtol=0, atol=bound)
    assert (new["w1"] - w["w1"]).norm() > 0.1

    def height(a: Tensor, w: dict) -> Tensor:
        return moved(a, w)["w2"].pow(3).sum()

    slopes = vmap(grad(height))(a, w)
    for i in range(3):
        at = a[i].clone().requires_grad_()
        (want,) = torch.autograd.grad(height(at, {n: t[i] for n, t in w.items()}), at)
        assert_close(slopes[i], want, rtol=0, atol=bound * 10 * want.norm().item())


def test_wrong_charge_changes_the_outputs():
    slots = (Slot("w1", Block.whole((4, 3)), (0,)), Slot("w2", Block.whole((2, 4)), (1,)))
    wrong = Symmetry(GeneralLinear(4), slots)
    w = {n: t[0] for n, t in draw().items()}
    new = Exact(wrong).act(wrong.sample(dtype=torch.float64), w, {})
    assert (new["w2"] @ new["w1"] - w["w2"] @ w["w1"]).abs().max() > 0.1


@pytest.mark.parametrize(
    "group",
    [PositiveScaling(3), GeneralLinear(3), Orthogonal(3), Translation(3), Affine(3), ComplexScaling(3)],
    ids=lambda g: g.name,
)
def test_exponentials_of_many_are_each_alone(group):
    a = group.project(torch.randn(5, *group.algebra_shape, dtype=torch.float64))
    # Two runs of one algorithm, of some ten products on an axis of 4.
    bound = 10 * 4**1.5 * EPS * group.norm(a).max().exp().item()
    assert_close(vmap(group.exp)(a), torch.stack([group.exp(x) for x in a]), rtol=0, atol=bound)


def test_units_are_those_told():
    symmetry = hidden(GeneralLinear(4))
    w = {n: t[0] for n, t in draw().items()}
    x = torch.randn(3, 7, dtype=torch.float64)
    action = Exact(symmetry, lambda w, data: w["w1"] @ data["x"])
    assert action.sees_units
    assert_close(action.units(w, {"x": x}), w["w1"] @ x, rtol=0, atol=0)
    assert not Exact(symmetry).sees_units
    assert Exact(symmetry).units(w, {"x": x}) is None


def test_refuses_discrete_groups():
    with pytest.raises(ValueError, match="the group must be continuous"):
        Exact(hidden(Permutation(4)))
