"""Every term of objective (6.3), and ours, against a loop over samples and generators that forms Jacobians."""

import pytest
import torch
from torch.testing import assert_close

from discovery.literal import TERMS as LITERAL
from discovery.losses import PAIR, SCALAR, TANH, awake, basis_changes, local
from isoloss.discovery.actions import Action, Linear, action_of
from isoloss.discovery.terms import TERMS
from isoloss.discovery.terms._relative_invariance import RIDGE

EPS = torch.finfo(torch.float64).eps


def here(case, name, k, options=None):
    size = {SCALAR: (2, 2), TANH: (9, 12), PAIR: (8, 12)}[case]
    action = awake(action_of(name, *size, options))
    return local(case, action, torch.randn(k, action.size, action.size, dtype=torch.float64))


def ridge(at):
    """What the ridge changes at most, as a part of tr G^-1 A: itself over the least eigenvalue of G."""
    v = at.directions.detach()
    gram = torch.einsum("nip,njp->ij", v, v)
    return RIDGE * float(gram.diagonal().mean() / torch.linalg.eigvalsh(gram)[0])


def test_every_term_has_a_twin():
    assert LITERAL.keys() == TERMS.keys()


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("case", [SCALAR, TANH], ids=["number", "vector"])
@pytest.mark.parametrize("action", ["linear", "affine", "mlp", "anchored", "residual"])
def test_a_term_is_what_its_equation_says(name, case, action):
    at = here(case, action, 2, {"width": 8} if action in ("mlp", "anchored", "residual") else None)
    tolerance = 1000 * EPS  # sums of some hundred terms
    if name == "relative_invariance":
        tolerance += ridge(at)
    assert_close(TERMS[name](at, 0.7), LITERAL[name](at, 0.7), rtol=tolerance, atol=1000 * EPS)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("action", ["mlp", "residual"])
def test_the_slope_of_a_term_is_that_of_its_loop(name, action):
    """By all that is learned: backward through forward derivatives, against backward through Jacobians."""
    at = here(SCALAR, action, 2, {"width": 6})
    slopes = []
    for terms in (TERMS, LITERAL):
        learned = [at.h.clone().requires_grad_(), *at.action.parameters()]
        value = terms[name](local(SCALAR, at.action, learned[0]), 0.7)
        if not value.requires_grad:
            assert (name, action) in {("identity", "residual"), ("associativity", "residual")}
            return
        found = torch.autograd.grad(value, learned, allow_unused=True, materialize_grads=True)
        slopes.append(torch.cat([slope.flatten() for slope in found]))
    assert slopes[1].norm() > 0
    # A slope of the ridge's part holds G^-1 once more: ten times that part for moderate G.
    rtol = 1e5 * EPS + (10 * ridge(at) if name == "relative_invariance" else 0.0)
    assert_close(slopes[0], slopes[1], rtol=0, atol=rtol * float(slopes[1].norm()))


def test_cosines_with_signs_are_least_for_opposite_generators():
    """The flaw of the published term: two generators that are one have its least value, -1."""
    h = torch.randn(1, 2, 2, dtype=torch.float64)
    opposite = local(SCALAR, Linear(2, 2), torch.cat([h, -h]))
    orthogonal = local(SCALAR, Linear(2, 2), torch.diag_embed(torch.eye(2, dtype=torch.float64)))
    assert_close(TERMS["orthogonality"](opposite, 1.0), torch.tensor(-1.0).double(), rtol=4 * EPS, atol=0)
    assert TERMS["orthogonality"](orthogonal, 1.0) == 0
    # ours is largest there, and least, zero, where directions are orthogonal at every sample
    assert_close(TERMS["independence"](opposite, 1.0), torch.tensor(1.0).double(), rtol=20 * EPS, atol=0)
    assert TERMS["independence"](orthogonal, 1.0) == 0


class Squashed(Action):
    """Different generators, the same directions: only the trace of g is seen."""

    def forward(self, g, theta, x):
        return theta * (g.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True))


def test_orthogonal_generators_may_have_the_same_directions():
    h = torch.diag_embed(torch.eye(2, dtype=torch.float64))
    at = local(SCALAR, Squashed(2, 2), h)
    assert TERMS["orthogonality"](at, 1.0) == 0
    assert_close(TERMS["independence"](at, 1.0), torch.tensor(1.0).double(), rtol=20 * EPS, atol=0)


def test_the_published_invariance_is_small_for_short_directions():
    action = awake(action_of("residual", 2, 2, {"width": 8}))
    h = torch.randn(2, 2, 2, dtype=torch.float64)
    long, short = local(SCALAR, action, h), local(SCALAR, action, 1e-3 * h)
    ratio = TERMS["invariance"](short, 1.0) / TERMS["invariance"](long, 1.0)
    assert_close(ratio, torch.tensor(1e-3, dtype=torch.float64), rtol=100 * EPS, atol=0)
    ratio = TERMS["relative_invariance"](short, 1.0) / TERMS["relative_invariance"](long, 1.0)
    assert_close(ratio, torch.tensor(1.0).double(), rtol=1000 * EPS, atol=0)


@pytest.mark.parametrize("action", ["linear", "residual"])
def test_relative_invariance_is_that_of_the_span(action):
    """The same for every basis of the generators' span: up to the ridge over the least eigenvalue of G."""
    at = here(TANH, action, 3, {"width": 8} if action == "residual" else None)
    mix = torch.tensor([[1.0, 0.5, -0.2], [0.0, 2.0, 0.3], [0.7, 0.0, 1.0]], dtype=torch.float64)
    mixed = local(TANH, at.action, torch.einsum("ij,jmn->imn", mix, at.h))
    values = [TERMS["relative_invariance"](a, 1.0) for a in (at, mixed)]
    assert_close(values[0], values[1], rtol=ridge(at) + ridge(mixed), atol=0)
    # negative control: another span has another value
    other = local(TANH, at.action, torch.randn_like(at.h))
    assert (TERMS["relative_invariance"](other, 1.0) - values[0]).abs() > 0.01 * values[0]


def test_relative_invariance_is_one_for_random_directions_and_none_for_symmetries():
    h = torch.randn(1, 8, 8, dtype=torch.float64)
    losses = [
        TERMS["relative_invariance"](local(PAIR, Linear(8, 12), h, n=40, seed=s), 1.0) for s in range(5)
    ]
    true = TERMS["relative_invariance"](local(PAIR, Linear(8, 12), basis_changes()), 1.0)
    assert true < 1000 * EPS
    # A random change of 8 numbers: its mean over 200 samples strays by tenths. Far from 0, and not p = 8.
    assert 0.3 < torch.stack(losses).mean() < 3


@pytest.mark.parametrize("name", ["anchored", "residual", "linear", "affine", "low-rank"])
def test_terms_that_hold_by_construction_are_zero(name):
    at = here(SCALAR, name, 2, {"rank": 1} if name == "low-rank" else None)
    assert TERMS["identity"](at, 1.0) == TERMS["associativity"](at, 1.0) == 0
    assert LITERAL["identity"](at, 1.0) < 10 * EPS and LITERAL["associativity"](at, 1.0) < 1000 * EPS


def test_the_identity_axiom_gives_associativity():
    """A map that keeps it is no group action for that: Theorem 6.3.2 is necessary, not sufficient."""

    class Bent(Action):
        """g theta, with a bend that vanishes at the identity: a(g2, a(g1, theta)) is not a(g2 g1, theta)."""

        anchored = False

        def forward(self, g, theta, x):
            one = torch.eye(2, dtype=g.dtype)
            return theta @ g.mT + (theta.square() @ (g - one).mT).sin()

    at = local(SCALAR, Bent(2, 2), torch.randn(2, 2, 2, dtype=torch.float64))
    assert LITERAL["associativity"](at, 1.0) < 100 * EPS and TERMS["associativity"](at, 1.0) < 100 * EPS
    g1, g2 = torch.linalg.matrix_exp(at.h)
    twice, once = at.action(g2, at.action(g1, at.theta, at.x), at.x), at.action(g2 @ g1, at.theta, at.x)
    assert (twice - once).norm() > 0.1 * once.norm()
    # and a map that moves by the identity has a defect
    moving = here(SCALAR, "mlp", 2, {"width": 8})
    assert TERMS["identity"](moving, 1.0) > 0.01 and TERMS["associativity"](moving, 1.0) > 0.01


def test_norm_is_least_at_beta():
    h = torch.eye(2, dtype=torch.float64)[None]
    at = local(SCALAR, Linear(2, 2), h)
    at.theta = torch.nn.functional.normalize(at.theta, dim=1)
    assert TERMS["norm"](at, 1.0) < 10 * EPS
    assert_close(TERMS["norm"](at, 3.0), torch.tensor(2.0).double(), rtol=10 * EPS, atol=0)
