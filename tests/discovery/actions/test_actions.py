"""Action maps: their directions against Jacobians, and which laws of a group they keep."""

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.func import jvp
from torch.testing import assert_close

from discovery.losses import awake
from isoloss.discovery import actions
from isoloss.discovery.actions import (
    ACTIONS,
    NAMES,
    Action,
    AffineGenerators,
    LowRankGenerators,
    Residual,
    action_of,
)

EPS = torch.finfo(torch.float64).eps
P, Q, N, K = 3, 2, 4, 2


def made(name):
    torch.manual_seed(0)
    small = {} if ACTIONS.get(name) and not issubclass(ACTIONS[name], actions.MLP) else {"width": 8}
    return awake(action_of(name, P, Q, small))


def point():
    return torch.randn(N, P, dtype=torch.float64), torch.randn(N, Q, dtype=torch.float64)


def element(action):
    """A group element near the identity: the exponential of what may be learned."""
    return torch.linalg.matrix_exp(0.3 * action.generators(1).double()()[0]).detach()


@pytest.mark.parametrize("name", NAMES)
def test_directions_are_derivatives_at_the_identity(name):
    action, (theta, x) = made(name), point()
    h = action.generators(K).double()().detach()
    one = torch.eye(action.size, dtype=torch.float64)
    found = action.directions(h, theta, x)
    assert found.shape == (N, K, P)
    j = jacobian(lambda g: action(g, theta, x), one)
    expected = torch.einsum("npij,kij->nkp", j, h)
    assert_close(found, expected, rtol=0, atol=1000 * EPS * float(expected.norm()))


@pytest.mark.parametrize("name", NAMES)
def test_directions_can_be_differentiated_forward(name):
    """By parameters and data, as brackets and the dependence on data need: against central differences."""
    action, (theta, x) = made(name), point()
    h = action.generators(K).double()().detach()
    u, y, step = torch.randn_like(theta), torch.randn_like(x), 1e-5
    slope = jvp(lambda t, x: action.directions(h, t, x), (theta, x), (u, y))[1]
    ends = [action.directions(h, theta + s * step * u, x + s * step * y) for s in (1, -1)]
    assert_close(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_element_each_is_one_after_another(name):
    action, (theta, x) = made(name), point()
    g = torch.stack([element(action) for _ in range(N)])
    each = torch.cat([action(g[i], theta[i : i + 1], x[i : i + 1]) for i in range(N)])
    assert_close(action(g, theta, x), each, rtol=100 * EPS, atol=100 * EPS)


@pytest.mark.parametrize("name", NAMES)
def test_the_identity_moves_nothing_if_anchored(name):
    action, (theta, x) = made(name), point()
    moved = (action(torch.eye(action.size, dtype=torch.float64), theta, x) - theta).norm()
    assert action.anchored is ("mlp" not in name)
    assert moved < 100 * EPS if action.anchored else moved > 0.1


@pytest.mark.parametrize("name", ["linear", "affine", "low-rank"])
def test_linear_maps_are_group_actions(name):
    action, (theta, x) = made(name), point()
    g, h = element(action), element(action)
    assert_close(action(g, action(h, theta, x), x), action(g @ h, theta, x), rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("name", ["mlp", "anchored", "residual"])
def test_perceptrons_are_none(name):
    action, (theta, x) = made(name), point()
    g, h = element(action), element(action)
    assert (action(g, action(h, theta, x), x) - action(g @ h, theta, x)).norm() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_who_says_that_it_reads_the_data_does(name):
    action, (theta, x) = made(name), point()
    g = element(action)
    same = torch.equal(action(g, theta, x), action(g, theta, x + 1))
    assert same is not action.reads_data
    assert action.reads_data is (name in ("mlp", "anchored", "residual"))


def test_a_residual_action_starts_linear():
    torch.manual_seed(0)
    action, (theta, x) = Residual(P, Q).double(), point()
    h = torch.randn(K, P, P, dtype=torch.float64)
    assert_close(
        action.directions(h, theta, x), torch.einsum("kij,nj->nki", h, theta), rtol=0, atol=100 * EPS
    )


def test_generators_stay_in_their_algebra():
    affine, thin = AffineGenerators(K, P + 1), LowRankGenerators(K, P, 1)
    with torch.no_grad():
        for p in affine.parameters():
            p.add_(1.0)
    assert not affine()[:, -1].any() and affine()[:, :-1].all()
    assert torch.linalg.matrix_rank(thin()).tolist() == [1] * K


def test_an_affine_map_translates():
    action, (theta, x) = made("affine"), point()
    g = torch.eye(P + 1, dtype=torch.float64)
    g[:P, P] = torch.arange(1.0, P + 1)
    assert_close(action(g, theta, x), theta + torch.arange(1.0, P + 1).double(), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_options_make_it_again(name):
    action = made(name)
    again = type(action)(P, Q, **action.options).double()
    again.load_state_dict(action.state_dict())
    theta, x = point()
    g = element(action)
    assert torch.equal(action(g, theta, x), again(g, theta, x))
    assert action.size == again.size and action.reads_data == again.reads_data


def test_the_registry_lists_every_action():
    public = [getattr(actions, name) for name in actions.__all__]
    classes = {c for c in public if isinstance(c, type) and issubclass(c, Action) and c is not Action}
    assert set(ACTIONS.values()) == classes and set(ACTIONS) < set(NAMES)


@pytest.mark.parametrize(
    "name, options, told",
    [
        ("lineal", {}, "action must be one of linear, affine.* or an Action of your own; got 'lineal'"),
        ("data-independent linear", {}, "action must be one of"),
        ("linear", {"width": 3}, "options must be those of the action 'linear'; got width"),
        (
            "mlp",
            {"depth": 1},
            "MLP: width must be a whole number of at least 1 and depth of at least 2; got 128",
        ),
        ("residual", {"width": 0.5}, "Residual: width must be a whole number"),
        ("low-rank", {"rank": 4}, "rank must be a whole number from 1 to the number of parameters, 3; got 4"),
        ("low-rank", {"rank": 0}, "rank must be"),
    ],
)
def test_unknown_names_and_options_are_refused(name, options, told):
    with pytest.raises(ValueError, match=told):
        action_of(name, P, Q, options)
