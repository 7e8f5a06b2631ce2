"""Units that are equally large and uncorrelated after a unit step."""

import pytest
import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.groups import GeneralLinear
from isoloss.learn.actions import Exact
from isoloss.learn.directions import Scale, Whiten
from learn.directions.points import POINTS, hidden

EPS = torch.finfo(torch.float64).eps


def gram(p, w):
    s = p.action.units(w, p.data)
    return s @ s.mT


def full(p):
    """Five generic units: four inputs would make the fifth depend on them."""
    p.parameters["w1"] = torch.randn(5, 6, dtype=torch.float64)
    p.data |= {n: torch.randn(rows, 9, dtype=torch.float64) for n, rows in (("x", 6), ("y", 3))}
    return p


def test_linear_units_are_whitened():
    p = full(POINTS["linear"]())
    a, before = p.propose(Whiten()), gram(p, p.parameters)
    after = torch.linalg.matrix_exp(a) @ before @ torch.linalg.matrix_exp(a).mT
    mean = before.diagonal().mean()
    # eigh, log, exp and two products, each n^1.5 eps of the largest eigenvalue on the way, back through the inverse.
    bound = 8 * 5**1.5 * EPS * torch.linalg.cond(before).item()
    assert_close(after / mean, torch.eye(5, dtype=torch.float64), rtol=0, atol=bound)
    assert (before / mean - torch.eye(5)).abs().max() > 0.1
    assert_close(a, a.mT, rtol=0, atol=1e-14)


def test_scalings_make_units_of_relus_equally_large():
    p = POINTS["scaling"]()
    p.parameters["w1"] = p.parameters["w1"].abs() * torch.tensor([[1.0], [2.0], [5.0], [0.1], [3.0]]).double()
    p.data["x"] = p.data["x"].abs()
    a, before = p.propose(Whiten()), gram(p, p.parameters).diagonal()
    after = gram(p, p.moved(a)).diagonal()
    assert_close(after, before.mean().expand(5), rtol=1e-13, atol=0)
    assert before.max() > 2 * before.min()


def test_leaky_units_come_nearer():
    p = POINTS["dependent"]()
    p.parameters["w1"] = torch.rand(5, 5, dtype=torch.float64)
    p.data["x"] = torch.rand(5, 5, dtype=torch.float64)
    p.data["y"] = torch.rand(3, 5, dtype=torch.float64)
    before, after = (torch.linalg.cond(gram(p, w)) for w in (p.parameters, p.moved(p.propose(Whiten()))))
    assert after < before / 10


def test_dead_units_grow_by_no_more_than_the_floor_says():
    p = full(POINTS["linear"]())
    p.parameters["w1"][2] = 0.0
    a = p.propose(Whiten(floor=1e-4))
    # The eigenvalue 0 counts as 1e-4 of the mean: exp(-1/2 log 1e-4) = 100.
    assert_close(
        torch.linalg.matrix_exp(a)[2, 2], torch.tensor(100.0, dtype=torch.float64), rtol=1e-10, atol=0
    )


def test_no_derivative_goes_through_it():
    p = full(POINTS["linear"]())

    def entries(w1):
        return Whiten()(p.action, p.loss, p.parameters | {"w1": w1}, p.data, {}).square().sum()

    assert_close(grad(entries)(p.parameters["w1"]), torch.zeros(5, 6, dtype=torch.float64), rtol=0, atol=0)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
@pytest.mark.parametrize("point", ["linear", "scaling"])
def test_nothing_is_proposed_without_activations(point, value):
    p = POINTS[point]()
    p.data["x"] = torch.full_like(p.data["x"], value)
    assert_close(p.propose(Whiten()), torch.zeros(p.action.group.algebra_shape).double(), rtol=0, atol=0)


def test_needs_units():
    p = POINTS["linear"]()
    p.action = Exact(hidden(GeneralLinear(5)))
    assert not Whiten().suits(p.action)
    assert Scale().suits(p.action)
    with pytest.raises(ValueError, match=r"got none from GL\(5\)"):
        p.propose(Whiten())
