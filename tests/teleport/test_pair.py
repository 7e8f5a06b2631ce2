from math import inf, sqrt

import pytest
import torch
from scipy.optimize import minimize
from torch import nn
from torch.testing import assert_close

from isoloss.teleport._pair import Pair
from isoloss.teleport._quadratic import Quadratic
from networks import Attention, attention_symmetries, linear_symmetries, mlp


def pair(n=4, batch=(), rank=None):
    def gram():
        x = torch.randn(*batch, rank or 2 * n, n, dtype=torch.float64)
        return x.mT @ x

    return Pair(gram(), gram())


def nothing(pair):
    return Pair(torch.zeros_like(pair.grow), torch.zeros_like(pair.shrink))


def symmetric(x):
    return (x + x.mT) / 2


@pytest.mark.parametrize("power", [1, -1])
@pytest.mark.parametrize("name", ["linear", "attention"])
def test_the_sum_is_that_of_moved_tensors(name, power):
    model = mlp(5, 4, 3, activation=nn.Identity) if name == "linear" else Attention()
    symmetries = linear_symmetries(model) if name == "linear" else attention_symmetries(model)
    for symmetry in symmetries:
        tensors = {n: torch.randn_like(p, dtype=torch.float64) for n, p in model.named_parameters()}
        form = Quadratic(
            {n: tensors[n] for n in symmetry.parameters}, power, {"0.weight": 0.3, "inputs.weight": 2.0}
        )
        found = Pair.of(symmetry, form)
        a = symmetric(0.3 * torch.randn(*symmetry.batch, symmetry.group.n, symmetry.group.n).double())
        g = torch.linalg.matrix_exp(a)
        moved = symmetry.act(g, form.tensors) if power > 0 else symmetry.transport(g, form.tensors)
        change = sum(
            form.weight(n) * (moved[n].square().sum() - t.square().sum()) for n, t in form.tensors.items()
        )
        assert_close(found.value(g) - found.here, change)


def test_rotations_change_nothing():
    """Corollary 4.5.2: only the symmetric part of the algebra matters."""
    p = pair()
    q, _ = torch.linalg.qr(torch.randn(4, 4).double())
    g = torch.linalg.matrix_exp(symmetric(torch.randn(4, 4).double()))
    for h in (g, q @ g):
        s = h.mT @ h
        assert_close(torch.trace(s @ p.grow) + torch.trace(torch.linalg.inv(s) @ p.shrink), p.value(g))


@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_raised_is_the_maximum_within_the_radius(batch):
    p, r = pair(batch=batch), 0.3
    g = p.raised(r)
    assert_close(torch.linalg.svdvals(g).log().abs(), torch.full((*batch, 4), r).double())
    gap = torch.linalg.svdvals(p.grow - p.shrink).sum()
    total = (p.grow + p.shrink).diagonal(dim1=-2, dim2=-1).sum()
    cosh, sinh = torch.cosh(torch.tensor(2 * r)).double(), torch.sinh(torch.tensor(2 * r)).double()
    assert_close(p.value(g), cosh * total + sinh * gap, rtol=1e-6, atol=0.0)  # cosh and sinh are float32
    for _ in range(300):
        x = symmetric(torch.randn(*batch, 4, 4).double())
        x = r * x / torch.linalg.matrix_norm(x, 2)[..., None, None]
        assert p.value(torch.linalg.matrix_exp(x)) <= p.value(g)


def test_raised_leaves_alone_what_has_no_gradient():
    p = pair(rank=1)
    g = p.raised(0.3)
    spread = torch.linalg.eigvalsh(g).log()
    assert_close(spread.sort().values, torch.tensor([-0.3, 0.0, 0.0, 0.3]).double())


def test_lowered_solves_the_stationary_equation():
    p = pair(batch=(3,))
    s = torch.linalg.matrix_power(p.lowered(inf, nothing(p)), 2)
    inverse = torch.linalg.inv(s)
    # Two square roots and an inverse, of condition number below 1e4.
    assert_close(p.grow, inverse @ p.shrink @ inverse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("radius", [inf, 0.4, 0.1])
def test_lowered_is_the_minimum_that_scipy_finds(radius):
    p = pair(3)
    p = Pair(p.grow, 5 * p.shrink)
    g = p.lowered(radius, nothing(p))
    assert torch.linalg.svdvals(g).log().abs().max() <= radius * (1 + 1e-9)
    rows, columns = torch.triu_indices(3, 3)

    def element(v):
        x = torch.zeros(3, 3, dtype=torch.float64)
        x[rows, columns] = torch.tensor(v).double()
        values, vectors = torch.linalg.eigh(x + x.triu(1).mT)
        return (vectors * values.clamp(-radius, radius).exp()) @ vectors.mT

    best = min(
        minimize(
            lambda v: p.value(element(v)).item(),
            torch.randn(6).numpy() * 0.1,
            method="Powell",
            options={"xtol": 1e-10, "ftol": 1e-14, "maxiter": 20000},
        ).fun
        for _ in range(3)
    )
    # Powell's direction search is good to its ftol times the function's flatness; ours may only be better.
    assert p.value(g) <= best * (1 + 1e-9)


def test_a_balanced_pair_of_matrices_has_equal_grams():
    """The minimum parameter norm of W2 W1: W1 W1^T = W2^T W2, the conserved quantity of gradient flow is zero."""
    model = mlp(6, 4, 5, activation=nn.Identity, bias=False).double()
    (symmetry,) = linear_symmetries(model)
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    p = Pair.of(symmetry, Quadratic(tensors, 1, {}))
    moved = symmetry.act(p.lowered(inf, nothing(p)), tensors)
    w1, w2 = moved["0.weight"], moved["2.weight"]
    assert_close(w1 @ w1.mT, w2.mT @ w2, rtol=1e-9, atol=1e-9)
    nuclear = torch.linalg.svdvals(tensors["2.weight"] @ tensors["0.weight"]).sum()
    assert_close(w1.square().sum() + w2.square().sum(), 2 * nuclear)


def test_singular_pairs_stay_well_conditioned():
    p = pair(rank=2)
    g = p.lowered(inf, p.ridge())
    assert g.isfinite().all()
    assert torch.linalg.cond(g) < 100
    assert p.value(g) < p.here


def test_a_pair_with_an_empty_side_is_left_alone():
    p = pair()
    for one_sided in (Pair(p.grow, torch.zeros_like(p.grow)), Pair(torch.zeros_like(p.grow), p.grow)):
        assert_close(one_sided.lowered(inf, one_sided.ridge()), torch.eye(4).double())


def test_moved_grams_are_grams_of_moved_tensors():
    model = mlp(5, 4, 3, activation=nn.Identity)
    (symmetry,) = linear_symmetries(model)
    tensors = {n: torch.randn_like(t, dtype=torch.float64) for n, t in model.named_parameters()}
    g = torch.linalg.matrix_exp(symmetric(0.3 * torch.randn(4, 4).double()))
    there = Pair.of(symmetry, Quadratic({**tensors, **symmetry.act(g, tensors)}, 1, {}))
    here = Pair.of(symmetry, Quadratic(tensors, 1, {})).moved(g)
    assert_close(here.grow, there.grow)
    assert_close(here.shrink, there.shrink)


def test_the_ridge_is_small():
    p = pair()
    ratio = p.ridge().grow.diagonal().mean() / p.grow.diagonal().mean()
    assert_close(ratio.item(), sqrt(torch.finfo(torch.float32).eps))
