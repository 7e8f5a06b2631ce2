"""Slots, frames and shifts against the same moves written out by hand."""

from fractions import Fraction

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import ComplexScaling, GeneralLinear, Permutation, PositiveScaling, Translation
from isoloss.symmetry import Block, Frame, Operand, Shift, Slot, Symmetry


def move(slot: Slot | Shift, group, g, tensors, batch=()):
    """The slot's parameter after g."""
    return Symmetry(group, (slot,), batch).act(g, tensors)[slot.parameter]


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("dim", range(4))
def test_a_matrix_acts_along_the_dimension_named(dim):
    """For every axis of a convolution's weight."""
    w, g = draw(3, 3, 3, 3), draw(3, 3)
    slot = Slot("w", Block.whole((3, 3, 3, 3)), (dim,))
    letters = "abcd"
    expected = torch.einsum(f"x{letters[dim]},{letters}->{letters.replace(letters[dim], 'x')}", g, w)
    assert_close(move(slot, GeneralLinear(3), g, {"w": w}), expected)


def test_batch_dimensions_come_first_in_the_order_of_the_element():
    """Element (p, q, n) on a weight with axes (n, i, q, p)."""
    w, g = draw(4, 5, 3, 2), draw(2, 3, 4, 4)
    slot = Slot("w", Block.whole((4, 5, 3, 2)), (3, 2, 0), Fraction(-1))
    expected = torch.einsum("pqmn,niqp->miqp", torch.linalg.inv(g).mT, w)
    assert_close(move(slot, GeneralLinear(4), g, {"w": w}, (2, 3)), expected)


def test_complex_scaling_takes_two_dimensions():
    """(real or imaginary, frequency) wherever they lie."""
    w, c = draw(3, 5, 2), torch.randn(3, dtype=torch.complex128)
    slot = Slot("w", Block.whole((3, 5, 2)), (2, 0))
    z = torch.complex(w[..., 0], w[..., 1]) * c[:, None]
    g = torch.view_as_real(c)
    assert_close(move(slot, ComplexScaling(3), g, {"w": w}), torch.view_as_real(z))


@pytest.mark.parametrize("charge", [Fraction(2), Fraction(-1, 3)], ids=str)
def test_one_number_scales_a_whole_block(charge):
    w, s = draw(4, 5), torch.tensor([1.7], dtype=torch.float64)
    block = Block((1, 0), (((2, 2),), ((5, 1),)))
    moved = move(Slot("w", block, (), charge), PositiveScaling(1), s, {"w": w})
    assert_close(moved[1::2], w[1::2] * 1.7 ** float(charge))
    assert torch.equal(moved[::2], w[::2])


def test_one_number_per_index_of_a_batch():
    w, s = draw(4, 5), draw(4, 5).exp()
    slot = Slot("w", Block.whole((4, 5)), (0, 1))
    assert_close(move(slot, PositiveScaling(5), s, {"w": w}, (4,)), w * s)


def test_slots_of_one_tensor_act_one_after_the_other():
    """W -> P W P^T, as for a recurrent weight."""
    w, g = draw(5, 5), torch.randperm(5)
    slots = tuple(Slot("w", Block.whole((5, 5)), (d,)) for d in (0, 1))
    assert torch.equal(Symmetry(Permutation(5), slots).act(g, {"w": w})["w"], w[g][:, g])


def test_overlapping_slots_act_on_what_the_one_before_left():
    w, s = draw(5), torch.full((3,), 2.0, dtype=torch.float64)
    slots = tuple(Slot("w", Block((i,), (((3, 1),),)), (0,)) for i in (0, 2))
    moved = Symmetry(PositiveScaling(3), slots).act(s, {"w": w})["w"]
    assert torch.equal(moved, w * torch.tensor([2, 2, 4, 2, 2]))


@pytest.mark.parametrize("power", [1, -1, 2])
def test_a_frame_conjugates_by_a_diagonal(power):
    """D g D^-1 on the columns, D = diag(d) ** power"""
    w, d, g = draw(3, 4), draw(4).exp(), draw(4, 4)
    frame = Frame("d", Block.whole((4,)), (1,), power)
    slot = Slot("w", Block.whole((3, 4)), (1,), frames=(frame,))
    diagonal = torch.diag(d**power)
    expected = w @ (diagonal @ g @ torch.linalg.inv(diagonal)).T
    assert_close(move(slot, GeneralLinear(4), g, {"w": w, "d": d}), expected)


def test_a_frame_that_differs_from_head_to_head():
    w, d, g = draw(3, 2, 4), draw(4, 2).exp(), draw(2, 4, 4)
    frame = Frame("d", Block.whole((4, 2)), (2, 1))
    slot = Slot("w", Block.whole((3, 2, 4)), (1, 2), frames=(frame,))
    moved = move(slot, GeneralLinear(4), g, {"w": w, "d": d}, (2,))
    for head in range(2):
        diagonal = torch.diag(d[:, head])
        expected = w[:, head] @ (diagonal @ g[head] @ torch.linalg.inv(diagonal)).T
        assert_close(moved[:, head], expected)


@pytest.mark.parametrize(
    ("equation", "shape", "expected"),
    [
        ("i->i", (4,), lambda t, d, w: t),
        ("i->oi", (3, 4), lambda t, d, w: t.expand(3, 4)),
        ("i->io", (4, 3), lambda t, d, w: t[:, None].expand(4, 3)),
        ("i,i->oi", (3, 4), lambda t, d, w: (t / d).expand(3, 4)),
        ("i,j->ij", (4, 4), lambda t, d, w: torch.outer(t, 1 / d)),
        ("i,i,oi->o", (3,), lambda t, d, w: w**2 @ (t / d)),
        (" i , i , o i -> o x ", (3, 2), lambda t, d, w: (w**2 @ (t / d))[:, None].expand(3, 2)),
    ],
    ids=lambda v: v.replace(" ", "") if isinstance(v, str) else None,
)
def test_a_shift_is_its_equation(equation, shape, expected):
    """Operands to their powers, letters that no input has broadcast, times the coefficient."""
    tensors = {"p": draw(*shape), "d": draw(4).exp(), "w": draw(3, 4)}
    known = [Operand("d", Block.whole((4,)), -1), Operand("w", Block.whole((3, 4)), 2)]
    operands = tuple(known[: equation.count(",")])
    t = draw(4)
    shift = Shift("p", Block.whole(shape), equation, operands, Fraction(-3, 2))
    moved = move(shift, Translation(4), t, tensors)
    assert_close(moved, tensors["p"] - 1.5 * expected(t, tensors["d"], tensors["w"]))
    assert shift.reads == tuple(o.parameter for o in operands)
    assert shift.linear == (not operands)


def test_operands_are_read_before_anything_moves():
    """b2 takes back w2 t even if w2 is moved by a slot before it."""
    tensors = {"w": draw(3, 4), "b": draw(3)}
    own = Shift("w", Block.whole((3, 4)), "i->oi")
    taken = Shift("b", Block.whole((3,)), "i,oi->o", (Operand("w", Block.whole((3, 4))),), Fraction(-1))
    t = draw(4)
    moved = Symmetry(Translation(4), (own, taken)).act(t, tensors)
    assert_close(moved["b"], tensors["b"] - tensors["w"] @ t)


def test_a_shift_of_some_heads_leaves_the_others():
    tensors = {"b": draw(12)}
    block = Block((3,), (((2, 6), (3, 1)),))
    t = draw(2, 3)
    moved = move(Shift("b", block, "hi->hi"), Translation(3), t, tensors, (2,))
    expected = tensors["b"].clone()
    expected[3:6] += t[0]
    expected[9:12] += t[1]
    assert torch.equal(moved, expected)
