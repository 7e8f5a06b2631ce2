"""Theorems 6.3.1 and 6.3.2 on actions of groups, with negative controls; lengths, and what training divides by."""

import pytest
import torch
from torch.testing import assert_close

from discovery import literal
from discovery.losses import PAIR, RELU, SCALAR, basis_changes, local, rescalings
from discovery.symmetries import SIGMOID, Compensate, Forgetful
from isoloss.discovery import normal
from isoloss.discovery._local import Local
from isoloss.discovery.actions import Action, Linear
from isoloss.discovery.terms import TERMS

EPS = torch.finfo(torch.float64).eps
ONE = torch.ones(1, 1, 1, dtype=torch.float64)
CUBE = lambda w, x: (w["b"] * torch.relu(w["a"] * x["x"]) ** 3 - x["y"]).square(), *SCALAR[1:]  # noqa: E731
"""Homogeneous of degree 3: diag(1, -3) generates its rescalings, as in section 6.3.2."""
TRUE = {
    "GL(2) of linear layers": (PAIR, Linear(8, 12), basis_changes()),
    "rescalings of two neurons": (RELU, Linear(4, 2), rescalings()),
    "rescalings of degree 3": (CUBE, Linear(2, 2), torch.diag(torch.tensor([1.0, -3.0]).double())[None]),
    "data-dependent": (SIGMOID, Compensate(2, 2), ONE),
}
FALSE = {
    "random matrices": (PAIR, Linear(8, 12), torch.randn(2, 8, 8, dtype=torch.float64)),
    "rescalings of degree 1": (CUBE, Linear(2, 2), torch.diag(torch.tensor([1.0, -1.0]).double())[None]),
    "other data": (SIGMOID, Forgetful(2, 2), ONE),
}


@pytest.mark.parametrize("name", TRUE)
def test_the_loss_of_a_symmetry_does_not_change_to_first_order(name):
    """Theorem 6.3.1."""
    here = local(*TRUE[name])
    size = here.losses.scale(here.theta, here.x).sqrt()[:, None] * here.squared.sqrt()
    assert bool((here.slopes.abs().amax(-1) <= 1000 * EPS * here.theta.shape[1] * size).all())
    assert float(here.invariance.max()) <= 1000 * EPS


@pytest.mark.parametrize("name", FALSE)
def test_that_of_another_action_does(name):
    assert float(local(*FALSE[name]).invariance.max()) > 0.1


@pytest.mark.parametrize("name", TRUE)
def test_infinitesimal_associativity_holds_for_group_actions(name):
    """Theorem 6.3.2, as written, and in short."""
    here = local(*TRUE[name])
    size = float(here.squared.sqrt().max())
    assert literal.associativity(here, 1.0) <= 1000 * EPS * size
    assert float(here.associativity_error.max()) <= 1000 * EPS * size


def test_what_is_lost_by_associativity_does_not_depend_on_the_other_generator():
    """D a(v1) + v2 - D_g a(h1 + h2) = (D a - 1) v1, for D_g a is linear in h."""

    class Turned(Action):
        anchored = False

        def forward(self, g, theta, x):
            return torch.tanh(theta @ g.mT) + theta.flip(-1)

    h = torch.randn(3, 2, 2, dtype=torch.float64)
    one, other = local(SCALAR, Turned(2, 2), h), local(SCALAR, Turned(2, 2), h[[0, 2, 1]])
    assert_close(one.associativity_error[:, 0], other.associativity_error[:, 0], rtol=10 * EPS, atol=0)
    assert_close(one.associativity_error.mean(), literal.associativity(one, 1.0), rtol=100 * EPS, atol=0)
    assert one.associativity_error.min() > 0.01


def test_units_have_length_one_and_lengths_are_lengths():
    here = local(*FALSE["random matrices"])
    assert_close(here.units.norm(dim=-1), torch.ones(6, 2).double(), rtol=10 * EPS, atol=0)
    assert_close(here.squared.sqrt(), here.directions.norm(dim=-1), rtol=10 * EPS, atol=0)


def test_a_vanishing_action_has_finite_numbers_and_slopes():
    h = torch.zeros(2, 2, 2, dtype=torch.float64, requires_grad=True)
    here = local(SCALAR, Linear(2, 2), h)
    total = here.units.sum() + here.identity_error.sum() + here.associativity_error.sum()
    total = total + sum(term(here, 1.0) for term in TERMS.values())
    (slope,) = torch.autograd.grad(total, h)
    assert bool(total.isfinite()) and bool(slope.isfinite().all())


def test_invariance_of_random_directions_is_one():
    """Drawn anew at each sample: the mean over 4000 of them strays by some hundredths."""

    class Random(Action):
        def forward(self, g, theta, x):
            return theta

        def directions(self, h, theta, x):
            draws = torch.Generator().manual_seed(0)
            return torch.randn(len(theta), 1, 8, generator=draws, dtype=theta.dtype)

    losses = local(PAIR, Linear(8, 12), basis_changes(), n=4000)
    here = Local(losses.losses, Random(8, 12), ONE, losses.theta, losses.x, losses.generator)
    assert 0.9 < float(here.invariance) < 1.1


def test_parameters_that_the_loss_does_not_read_are_free():
    free = lambda w, x: (w["a"] - x["x"]).square()  # noqa: E731
    h = torch.zeros(1, 2, 2, dtype=torch.float64)
    h[0, 1, 1] = 1.0
    assert local((free, normal(a=(), b=()), normal(x=())), Linear(2, 1), h).invariance == 0


@pytest.mark.parametrize("factor", [2.0**-60, 2.0**60])
def test_the_unit_of_the_loss_does_not_matter(factor):
    """A small loss is not an invariant one; powers of two do not round."""
    loss, *samples = PAIR
    scaled = (lambda w, x: factor * loss(w, x)), *samples
    h = torch.randn(2, 8, 8, dtype=torch.float64)
    here, there = (local(case, Linear(8, 12), h) for case in (PAIR, scaled))
    assert_close(there.invariance, here.invariance, rtol=0, atol=0)
    terms = [TERMS["relative_invariance"](part, 1.0) for part in (here, there)]
    assert_close(terms[1], terms[0], rtol=0, atol=0)


def test_samples_without_a_slope_do_not_count():
    """Directions are long where the loss is constant; where it is not they are random."""
    sometimes = lambda w, x: torch.relu(x["x"]) * (w["a"] + w["b"])  # noqa: E731
    case = sometimes, normal(a=(), b=()), normal(x=())

    class Elsewhere(Linear):
        def forward(self, g, theta, x):
            return theta + torch.where(x > 0, 1e-3, 1.0) * (super().forward(g, theta, x) - theta)

    h = torch.randn(1, 2, 2, dtype=torch.float64)
    full, most = (local(case, kind(2, 1), h, n=50) for kind in (Linear, Elsewhere))
    assert 0 < int(most.sloped.sum()) < 50 and torch.equal(most.sloped, most.x[:, 0] > 0)
    assert_close(most.invariance, full.invariance, rtol=10 * EPS, atol=0)
    terms = [TERMS["relative_invariance"](here, 1.0) for here in (most, full)]
    # The ridge, 1e-6 of the Gram matrix, is of another part of it once that is small.
    assert_close(terms[0], terms[1], rtol=1e-5, atol=0)
    assert terms[0] > 0.01


def test_without_any_slope_nothing_is_invariant():
    here = local((lambda w, x: 0 * w["a"], *SCALAR[1:]), Linear(2, 2), ONE.expand(1, 2, 2))
    assert bool(here.invariance.isnan().all()) and float(TERMS["relative_invariance"](here, 1.0)) == 0
