"""Parameters, gradients and state of any symmetry, moved at once."""

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.groups import Orthogonal, Permutation, SignFlip, Translation
from isoloss.symmetry import Block, Frame, Operand, Shift, Slot, Symmetry
from isoloss.teleport._scalings import Scalings
from isoloss.teleport._state import GRADIENT, States
from isoloss.teleport._together import together
from networks import Rotary, linear_symmetries, mlp, mlp_symmetries, rotary_symmetries


def moved(symmetries, elements, tensors, gradients=None):
    """What `together` writes, on copies."""
    tensors = {n: t.clone() for n, t in tensors.items()}
    gradients = {n: t.clone() for n, t in (gradients or {}).items()}
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)
    states = [States("gradient", GRADIENT, gradients)]
    together(symmetries, elements, scalings, tensors, states, "here").commit()
    return tensors, gradients


def by_turns(symmetries, elements, tensors, gradients):
    """The same, one symmetry after another, by its own rules."""
    for symmetry, g in zip(symmetries, elements, strict=True):
        gradients = {**gradients, **symmetry.transport(g, gradients, tensors)}
        tensors = {**tensors, **symmetry.act(g, tensors)}
    return tensors, gradients


def data(model):
    tensors = {n: p.detach().double() for n, p in model.named_parameters()}
    return tensors, {n: torch.randn_like(t) for n, t in tensors.items()}


def folded():
    """A rotation seen through a norm's weight, and a bias that a weight carries on: actions that are not linear."""
    tensors = {
        n: torch.rand(s).double() + 0.5 for n, s in {"w": (3, 4), "norm": (4,), "b": (4,), "c": (3,)}.items()
    }
    frame = Frame("norm", Block.whole((4,)), (1,))
    rotation = Symmetry(Orthogonal(4), (Slot("w", Block.whole((3, 4)), (1,), Fraction(1), (frame,)),))
    shift = Symmetry(
        Translation(4),
        (
            Shift("b", Block.whole((4,)), "i->i"),
            Shift("c", Block.whole((3,)), "i,oi->o", (Operand("w", Block.whole((3, 4))),), Fraction(-1)),
        ),
    )
    return [rotation, shift], tensors


def cases():
    model = mlp(5, 4, 6, 3)
    tensors, _ = data(model)
    permuted = [Symmetry(Permutation(4), s.slots) for s in mlp_symmetries(model)[:1]]
    flipped = [Symmetry(SignFlip(6), s.slots) for s in mlp_symmetries(model)[1:]]
    rotary = Rotary()
    return {
        "scalings": (list(mlp_symmetries(model)), tensors),
        "matrices": (list(linear_symmetries(model)), tensors),
        "all on one network": (
            [*mlp_symmetries(model), *linear_symmetries(model), *permuted, *flipped],
            tensors,
        ),
        "complex": (list(rotary_symmetries(rotary)), data(rotary)[0]),
        "not linear": folded(),
    }


@pytest.mark.parametrize("name", cases())
def test_everything_moves_as_it_does_one_by_one(name):
    symmetries, tensors = cases()[name]
    gradients = {n: torch.randn_like(t) for n, t in tensors.items()}
    elements = [s.sample(scale=0.3, dtype=torch.float64) for s in symmetries]
    assert_close(
        moved(symmetries, elements, tensors, gradients), by_turns(symmetries, elements, tensors, gradients)
    )


@pytest.mark.parametrize("name", cases())
def test_none_and_the_identity_move_nothing(name):
    symmetries, tensors = cases()[name]
    gradients = {n: torch.randn_like(t) for n, t in tensors.items()}
    found = moved(symmetries, [None] * len(symmetries), tensors, gradients)
    assert_close(found, (tensors, gradients), rtol=0.0, atol=0.0)
    identity = [s.identity(dtype=torch.float64) for s in symmetries]
    assert_close(moved(symmetries, identity, tensors, gradients), (tensors, gradients))


def test_addresses_survive():
    model = mlp(5, 4, 6, 3).double()
    symmetries = [*mlp_symmetries(model), *linear_symmetries(model)]
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    addresses = [t.data_ptr() for t in tensors.values()]
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)
    elements = [s.sample(scale=0.3, dtype=torch.float64) for s in symmetries]
    together(symmetries, elements, scalings, tensors, [], "here").commit()
    assert [p.data_ptr() for p in model.parameters()] == addresses


def test_powers_of_two_leave_the_outputs_bit_for_bit():
    model = mlp(5, 7, 6, 3)
    x = torch.randn(20, 5)
    before = model(x)
    symmetries = list(mlp_symmetries(model))
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()})
    elements = [2.0 ** torch.randint(-4, 5, s.identity().shape) for s in symmetries]
    together(symmetries, elements, scalings, tensors, [], "here").commit()
    assert not torch.equal(model[0].weight, mlp(5, 7, 6, 3)[0].weight)
    assert_close(model(x), before, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_single_and_rounded_once(dtype):
    model = mlp(5, 4, 6, 3, activation=nn.Identity)
    symmetries = list(linear_symmetries(model))[:1]
    tensors = {n: p.detach().to(dtype) for n, p in model.named_parameters()}
    elements = [s.sample(scale=0.3) for s in symmetries]
    wide = symmetries[0].act(elements[0], {n: t.float() for n, t in tensors.items()})
    found, _ = moved(symmetries, elements, tensors)
    for name in symmetries[0].parameters:
        assert_close(found[name], wide[name].to(dtype), rtol=0.0, atol=0.0)


def test_underflow_is_refused():
    model = mlp(5, 4, 3)
    (symmetry,) = mlp_symmetries(model)
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    scalings = Scalings([symmetry], {n: tuple(t.shape) for n, t in tensors.items()})
    before = {n: t.clone() for n, t in tensors.items()}
    with pytest.raises(ValueError, match="a factor is zero, infinite or not a number"):
        together([symmetry], [torch.full((4,), 1e-46)], scalings, tensors, [], "here").commit()
    assert_close(tensors, before, rtol=0.0, atol=0.0)
