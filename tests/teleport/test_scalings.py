from fractions import Fraction

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import Permutation, PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetry
from isoloss.teleport._scalings import Scalings, is_scaling
from networks import ConvNet, Rotary, conv_symmetries, mlp, mlp_symmetries, rotary_symmetries


def scalings_of(symmetries, tensors) -> Scalings:
    return Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)


def scaled(scalings, s, tensors, power):
    """Every parameter multiplied by the factors of its axes."""
    parts = scalings.parts(scalings.factors(s, power))
    moved = dict(tensors)
    for cells in scalings.cells:
        for factor in cells.spread(parts):
            moved[cells.name] = moved[cells.name] * factor
    return moved


def overlapping():
    """Slots that share axes, a slot that has no dimension of its own, charges of 2 and 1/2, a strided block."""
    whole = Block.whole((6, 4))
    halves = Block((0, 0), (((3, 2),), ((4, 1),)))  # rows 0, 2, 4
    return [
        Symmetry(
            PositiveScaling(6), (Slot("w", whole, (0,)), Slot("b", Block.whole((6,)), (0,), Fraction(-1, 2)))
        ),
        Symmetry(PositiveScaling(1), (Slot("w", whole, (), Fraction(2)),)),
        Symmetry(PositiveScaling(3), (Slot("w", halves, (0,), Fraction(-1)),)),
        Symmetry(PositiveScaling(4), (Slot("w", whole, (1,)), Slot("scalar", Block((), ()), ()))[:1]),
    ]


def corner():
    """A block that is part of both axes: no axis alone says where it acts."""
    return [
        Symmetry(PositiveScaling(2), (Slot("w", Block((1, 1), (((2, 1),), ((3, 1),))), (0,)),)),
        Symmetry(PositiveScaling(4), (Slot("w", Block.whole((6, 4)), (1,), Fraction(-1)),)),
    ]


def fused():
    """One factor per column, written down as three segments of rows; another per row of one segment."""
    rows = [Block((2 * k, 0), (((2, 1),), ((4, 1),))) for k in range(3)]
    thirds = tuple(Slot("w", rows[k], (1,), Fraction(-1)) for k in range(3))
    return [
        Symmetry(PositiveScaling(2), (Slot("w", rows[2], (0,)),)),
        Symmetry(PositiveScaling(4), (*thirds, Slot("b", Block((0,), (((4, 1),),)), (0,)))),
    ]


def plain():
    return {"w": torch.randn(6, 4, dtype=torch.float64), "b": torch.randn(6, dtype=torch.float64)}


def case(name):
    torch.manual_seed(1)
    if name == "overlapping":
        return overlapping(), plain()
    if name == "corner":
        return corner(), plain()
    if name == "fused":
        return fused(), plain()
    model, find = {
        "mlp": (mlp(5, 7, 6, 3), mlp_symmetries),
        "conv": (ConvNet(), conv_symmetries),
        "rotary": (Rotary(), rotary_symmetries),
    }[name]
    return list(find(model)), {n: p.detach().double() for n, p in model.named_parameters()}


CASES = ["mlp", "conv", "rotary", "overlapping", "corner", "fused"]


@pytest.mark.parametrize("name", CASES)
def test_factors_act_as_the_symmetries_do(name):
    symmetries, tensors = case(name)
    scalings = scalings_of(symmetries, tensors)
    s = (0.5 * torch.randn(scalings.count, dtype=torch.float64)).exp()
    by_hand = dict(tensors)
    for symmetry, g in zip(symmetries, scalings.elements(s), strict=True):
        by_hand.update(symmetry.act(g, by_hand))
    # A product of at most four powers: eight roundings.
    assert_close(scaled(scalings, s, tensors, 1), by_hand, rtol=8 * torch.finfo(torch.float64).eps, atol=0.0)


@pytest.mark.parametrize("name", CASES)
def test_gradients_take_the_inverse_factors(name):
    symmetries, tensors = case(name)
    scalings = scalings_of(symmetries, tensors)
    s = (0.5 * torch.randn(scalings.count, dtype=torch.float64)).exp()
    back = scaled(scalings, s, scaled(scalings, s, tensors, 1), -1)
    assert_close(back, tensors, rtol=16 * torch.finfo(torch.float64).eps, atol=0.0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("power", [1, -1, 2, -2])
def test_powers_of_two_do_not_round(name, power):
    symmetries, tensors = case(name)
    symmetries = [s for s in symmetries if all(slot.charge.denominator == 1 for slot in s.slots)]
    scalings = scalings_of(symmetries, tensors)
    s = 2.0 ** torch.randint(-3, 4, (scalings.count,)).double()
    back = scaled(scalings, 1 / s, scaled(scalings, s, tensors, power), power)
    assert_close(back, tensors, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", CASES)
def test_elements_and_factors_are_one_another(name):
    symmetries, tensors = case(name)
    scalings = scalings_of(symmetries, tensors)
    s = torch.rand(scalings.count, dtype=torch.float64) + 0.5
    elements = scalings.elements(s)
    for symmetry, g in zip(symmetries, elements, strict=True):
        assert g.shape == symmetry.identity().shape
        assert symmetry.group.contains(g)
    assert_close(scalings.vector(elements), s, rtol=4 * torch.finfo(s.dtype).eps, atol=0.0)
    assert_close(scalings.vector([None] * len(symmetries)), scalings.ones())


@pytest.mark.parametrize("name", CASES)
def test_collect_is_the_adjoint_of_the_factors(name):
    """d/da of sum_i h_i e^(c_i a) at 0 is what grows less what shrinks."""
    symmetries, tensors = case(name)
    scalings = scalings_of(symmetries, tensors)
    h = torch.rand(len(scalings.share), dtype=torch.float64)
    a = torch.zeros(scalings.count, dtype=torch.float64, requires_grad=True)
    for sign in (1, -1):
        (slope,) = torch.autograd.grad(h @ scalings.factors(a.exp(), sign), a)
        grow, shrink = scalings.collect(h, sign)
        assert_close(grow - shrink, slope)
        assert (grow >= 0).all() and (shrink >= 0).all()


def test_exponents_know_the_crowd():
    symmetries, tensors = case("mlp")
    grow, shrink = scalings_of(symmetries, tensors).exponents(1)
    # The first layer stands alone; in the second, two factors meet in every entry; so they do for the outgoing
    # side of the first scaling and the incoming side of the second.
    assert_close(grow, torch.tensor([1.0] * 7 + [2.0] * 6).double())
    assert_close(shrink, torch.tensor([2.0] * 7 + [1.0] * 6).double())


def test_grouped_convolutions_fall_back_to_single_entries():
    symmetries, tensors = case("conv")
    cells = {c.name: c for c in scalings_of(symmetries, tensors).cells}
    assert cells["two.weight"].shape == (6 * 4 * 3 * 3,)
    assert cells["one.weight"].axes == (0,)
    assert cells["head.weight"].axes == (1,)


def test_segments_that_make_a_whole_are_put_together():
    symmetries, tensors = case("fused")
    cells = {c.name: c for c in scalings_of(symmetries, tensors).cells}
    assert cells["w"].shape == (6, 4) and cells["w"].axes == (0, 1)
    symmetries, tensors = case("corner")
    assert scalings_of(symmetries, tensors).cells[0].shape == (24,)


def test_only_scalings_are_scalings():
    assert not is_scaling(Symmetry(Permutation(3), (Slot("w", Block.whole((3,)), (0,)),)))
    scalings = scalings_of([Symmetry(Permutation(6), (Slot("w", Block.whole((6, 4)), (0,)),))], plain())
    assert scalings.members == [] and scalings.count == 0
    assert scalings.elements(scalings.ones()) == []
