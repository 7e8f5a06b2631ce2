"""The parts of the search: assignment, least squares, overlaps, invariants of heads, closed forms."""

import builtins
import itertools

import pytest
import torch
from torch.func import jvp, vjp
from torch.testing import assert_close

from connect.points import draw
from isoloss.connect.recover._assignment import assignment
from isoloss.connect.recover._least_squares import _linearized, gauss_newton
from isoloss.connect.recover._overlap import clouded, indices, overlap, same
from isoloss.connect.recover._solvers import SOLVERS, general_linear, orthogonal, scaling, sign
from isoloss.connect.recover._views import View, head_features, views
from isoloss.groups import (
    ComplexScaling,
    GeneralLinear,
    Orthogonal,
    Permutation,
    PositiveScaling,
    SignFlip,
    Translation,
)
from isoloss.symmetry import Block, Operand, Shift, Slot, Symmetry


@pytest.mark.parametrize("seed", range(5))
def test_the_assignment_against_all_permutations(seed):
    """With ties, where two rows ask for the same column, and without."""
    cost = torch.rand(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if seed % 2:
        cost[:, 0] -= 1
    best = min(itertools.permutations(range(5)), key=lambda p: sum(cost[i, p[i]] for i in range(5)))
    nearest = cost.argmin(1)
    if len(nearest.unique()) == 5:
        assert assignment(cost).tolist() == nearest.tolist()
    else:
        assert assignment(cost).tolist() == list(best)


def test_without_scipy_the_message_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("scipy"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert assignment(1 - torch.eye(3)).tolist() == [0, 1, 2]  # no need of it
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'isoloss\[connect\]'"):
        assignment(torch.zeros(3, 3))


def test_least_squares_are_those_of_the_textbook():
    """One linear problem without a unique solution: the one of least norm, as the pseudo-inverse gives it."""
    m, y = draw(4, 7), draw(4)
    (x,) = gauss_newton(lambda x: (m @ x - y,), [torch.zeros(7).double()])
    assert_close(x, torch.linalg.pinv(m) @ y, rtol=1e-9, atol=1e-9)
    tall, z = draw(9, 3), draw(9)
    (x,) = gauss_newton(lambda x: (tall @ x - z,), [torch.zeros(3).double()])
    assert_close(x, torch.linalg.lstsq(tall, z[:, None]).solution[:, 0], rtol=1e-9, atol=1e-9)


def test_products_with_the_jacobian_are_those_of_autograd():
    """Also where a part of the residual is constant, or an unknown goes nowhere."""
    m, constant = draw(4, 4), draw(3)

    def residual(x, y, z):
        return torch.linalg.solve(m + x.outer(x), y), constant, x.exp() * y

    at = [draw(4), draw(4), draw(2)]
    back, forward = _linearized(residual, at)
    v, u = tuple(draw(*t.shape) for t in at), tuple(draw(*t.shape) for t in residual(*at))
    # Float64 through one 4x4 system: some ten roundings times its condition number.
    assert_close(tuple(forward(list(v))), jvp(residual, tuple(at), v)[1], rtol=1e-10, atol=1e-10)
    assert_close(tuple(back(u)), vjp(residual, *at)[1](u), rtol=1e-10, atol=1e-10)
    with torch.no_grad():  # as the search calls it
        back, forward = _linearized(lambda x: (constant,), [at[0]])
        assert not back((constant,))[0].any() and not forward([at[0]])[0].any()


def test_several_unknowns_and_a_curved_problem():
    """Two numbers with given product and sum."""
    start = [torch.tensor([1.0]).double(), torch.tensor([4.0]).double()]
    x, y = gauss_newton(lambda x, y: (x * y - 6, x + y - 5), start)
    assert_close(torch.cat([x, y]), torch.tensor([2.0, 3.0]).double(), rtol=1e-10, atol=1e-10)


def test_a_residual_that_cannot_be_lowered_stays():
    (x,) = gauss_newton(lambda x: (x * 0 + 1,), [torch.tensor([3.0]).double()])
    assert x.item() == 3.0


def test_overlaps_of_strided_blocks():
    queries = Block((0, 0), (((3, 4), (4, 1)), ((12, 1),)))
    keys = Block((12, 0), (((3, 4), (4, 1)), ((12, 1),)))
    every_second = Block((0, 0), (((6, 2),), ((12, 1),)))
    assert indices(every_second)[0] == frozenset(range(0, 12, 2))
    assert not overlap(queries, keys) and overlap(queries, every_second)
    assert same(queries, Block((0, 0), (((12, 1),), ((12, 1),)))) and not same(queries, every_second)


def test_what_reads_where_others_write_is_clouded():
    bias = Block.whole((3,))
    through = Symmetry(
        Translation(3), (Shift("b", bias, "i,i->i", (Operand("w", bias),)), Shift("c", bias, "i->i"))
    )
    writer = Symmetry(PositiveScaling(3), (Slot("w", bias, (0,)),))
    assert clouded(Slot("b", bias, (0,)), [through], [writer])
    assert not clouded(Slot("c", bias, (0,)), [through], [writer])
    assert not clouded(Slot("b", bias, (0,)), [through], [])


def pair(x, y, charge=1.0):
    return View(x, y, charge)


def test_closed_forms_use_both_charges():
    """GL from three columns on either side of a 5 x 5 matrix: neither side is enough alone."""
    g = GeneralLinear(5).sample((2,), dtype=torch.float64)
    x, p = draw(2, 3, 5), draw(2, 3, 5)
    here = pair(x, x @ g.mT)
    there = pair(p, p @ torch.linalg.inv(g), -1.0)
    assert (
        general_linear(GeneralLinear(5), [here]).known < 1 > general_linear(GeneralLinear(5), [there]).known
    )
    found = general_linear(GeneralLinear(5), [here, there])
    assert_close(here.x @ found.element.mT, here.y, rtol=1e-10, atol=1e-10)
    assert_close(there.y @ found.element, there.x, rtol=1e-10, atol=1e-10)
    more = pair(draw(2, 5, 5), None)
    more = pair(more.x, more.x @ g.mT)
    assert_close(general_linear(GeneralLinear(5), [here, more]).element, g, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("group", [Orthogonal(4), Orthogonal(4, fixes_ones=True)], ids=lambda g: g.name)
def test_procrustes(group):
    g = group.sample((3,), dtype=torch.float64)
    x = draw(3, 6, 4)
    found = orthogonal(group, [pair(x, x @ g.mT)])
    assert found.known == 1.0 and group.contains(found.element)
    assert_close(found.element, g, rtol=1e-11, atol=1e-11)


def test_zero_vectors_say_nothing():
    x = draw(1, 3, 4)
    x[..., 2] = 0.0
    s = torch.tensor([2.0, 0.5, 7.0, 1.0]).double()
    found = scaling(PositiveScaling(4), [pair(x, x * s**-2, -2.0)])
    assert found.known == 0.75
    assert_close(found.element, torch.tensor([[2.0, 0.5, 1.0, 1.0]]).double())
    minus = torch.tensor([-1.0, 1.0, -1.0, -1.0]).double()
    found = sign(SignFlip(4), [pair(x, x * minus)])
    assert found.known == 0.75 and found.element.tolist() == [[-1.0, 1.0, 1.0, -1.0]]
    assert sign(SignFlip(4), [pair(x, x, 2.0)]).known == 0.0  # an even charge shows none


def test_complex_numbers_from_both_charges():
    group = ComplexScaling(3)
    g = group.sample((), dtype=torch.float64)
    x = draw(5, 2, 3)
    for charge in (1, -1):
        found = SOLVERS[ComplexScaling](group, [pair(x[None], group.act(g, x, charge)[None], float(charge))])
        assert_close(found.element[0], g, rtol=1e-12, atol=1e-12)


def heads(group, charges=(1, -1), count=3, n=2, width=6):
    block = Block.whole((count, n, width))
    matrices = Symmetry(
        group(n), tuple(Slot(k, block, (0, 1), c) for k, c in zip("qk", charges, strict=False)), (count,)
    )
    order = Symmetry(
        Permutation(count), tuple(Slot(k, block, (0,)) for k, _ in zip("qk", charges, strict=False))
    )
    a = {k: draw(count, n, width) for k, _ in zip("qk", charges, strict=False)}
    return matrices, order, a


@pytest.mark.parametrize("charges", [(1, -1), (1,)], ids=["both charges", "one charge"])
@pytest.mark.parametrize("group", [GeneralLinear, Orthogonal], ids=lambda g: g.__name__)
def test_heads_are_told_apart_behind_unknown_matrices(group, charges):
    matrices, order, a = heads(group, charges)
    p = torch.tensor([2, 0, 1])
    b = a | matrices.act(matrices.sample(dtype=torch.float64), a)
    b = b | order.act(p, b)
    assert views(order, [matrices], a, b) == []  # not directly
    (view,) = head_features(order, [matrices], a, b)
    assert_close(view.x[..., p], view.y, rtol=1e-9, atol=1e-9)
    assert (view.x - view.y).abs().max() > 1e-3
