"""The networks of Chapter 6, what is measured of learned symmetries, and what the published objective rewards."""

import pytest
import torch
from torch.func import jvp, vmap
from torch.testing import assert_close

from isoloss.discovery import Recipe, discover, normal, principal_angles
from isoloss.discovery._local import TINY, Local
from isoloss.discovery._loss import Losses
from isoloss.discovery._space import Space
from isoloss.discovery.actions import MLP, Anchored, Linear
from isoloss.discovery.terms import associativity, orthogonality, relative_invariance
from isoloss.reproduce.experiments._discovered_dependent import outer_layers, unseen
from isoloss.reproduce.experiments._discovered_known import largest_angle
from isoloss.reproduce.experiments._shared_architectures import ARCHITECTURES, null_dimension, null_of
from isoloss.reproduce.experiments._shared_discovery import (
    DESIGNS,
    OURS,
    Discovered,
    cosines,
    curves,
    layer_shares,
    learn,
    shares,
)

KNOWN = [name for name, a in ARCHITECTURES.items() if a.known]
COUNTS = {"scalar": 1, "linear": 4, "relu": 3, "attention": 4, "transformer": 16}


@pytest.mark.parametrize("name", KNOWN)
def test_known_directions_keep_the_loss(name):
    """They are differentials of symmetries: the derivative of the loss along them is rounding."""
    architecture = ARCHITECTURES[name]
    theta, x = architecture.drawn(8, 3)
    space, known = architecture.space, architecture.known(theta)
    flat = space.flat(theta)
    losses = vmap(lambda t, x: architecture.value(space.tree(t), x))
    for i in range(known.shape[1]):
        along = jvp(lambda t: losses(t, x), (flat,), (known[:, i],))[1]
        control = jvp(lambda t: losses(t, x), (flat,), (torch.randn_like(flat),))[1]
        # Sums of at most 16 x 24 products of numbers up to 1e3.
        assert along.abs().max() < 1e-9 < 1e-3 < control.abs().max()
    assert torch.linalg.matrix_rank(known).eq(COUNTS[name]).all()


@pytest.mark.parametrize("name", ["linear", "attention"])
def test_there_are_enough_data_points_that_no_other_direction_keeps_the_losses(name):
    assert null_of(ARCHITECTURES[name], 8, 3).dimension.eq(COUNTS[name]).all()


def test_a_number_of_losses_leaves_the_other_directions():
    skip, transformer = ARCHITECTURES["skip"], ARCHITECTURES["transformer"]
    assert [null_dimension(skip, d, 8, 0) for d in (1, 4, 10, 12)] == [9, 6, 0, 0]
    assert [null_dimension(outer_layers(skip), d, 8, 0) for d in (1, 6)] == [5, 0]
    assert [null_dimension(transformer, d, 8, 0) for d in (1, 8, 12, 20)] == [27, 20, 16, 16]


def test_the_transformer_is_the_printed_one():
    """Against torch's own attention, on one batch."""
    architecture = ARCHITECTURES["transformer"]
    theta, x = architecture.drawn(1, 0)
    w, inputs = {n: t[0] for n, t in theta.items()}, x["X"][0, 0]
    q, k, v = (inputs @ w[n] for n in "QKV")
    z = inputs + torch.nn.functional.scaled_dot_product_attention(q, k, v)
    expected = torch.nn.functional.mse_loss(z @ w["W1"] @ w["W2"], x["Y"][0, 0])
    assert_close(architecture.value(w, {n: t[0] for n, t in x.items()}), expected[None])
    assert architecture.space.size == 28


# --- Measures ---


def test_shares_and_angles_of_a_plane():
    plane = torch.eye(4).double()[:2].expand(3, 2, 4)
    tilted = torch.tensor([[1.0, 0, 1.0, 0], [0, 3.0, 0, 0], [0, 0, 0, 5.0]]).double().expand(3, 3, 4)
    assert_close(shares(tilted, plane), torch.tensor([[0.5, 1.0, 0.0]]).double().expand(3, 3))
    assert_close(largest_angle(tilted[:, :2], plane), torch.full((3,), 45.0).double())
    # Directions that collapsed onto one another span less than they should.
    assert largest_angle(plane[:, [0, 0]], plane).eq(90).all()
    assert principal_angles(plane, plane).max() == 0


def test_layers_of_a_direction():
    architecture = ARCHITECTURES["skip"]  # 4 + 4 + 2 parameters
    direction = torch.tensor([3.0] * 4 + [0.0] * 4 + [1.0, 1.0])
    assert_close(layer_shares(architecture, direction.expand(2, 1, 10)), torch.tensor([[36 / 38, 0, 2 / 38]]))


def test_moves_of_the_first_layer_that_inputs_do_not_see():
    x = torch.tensor([[[1.0], [0.0], [0.0]]])  # one data point, along the first of three axes
    first = torch.zeros(1, 2, 3)
    along, across, mixed = torch.zeros(3, 8)
    along[0], across[[1, 5]], mixed[[0, 4, 7]] = 1.0, 1.0, 1.0
    parts = unseen(torch.stack([along, across, mixed])[None], first, x)
    assert_close(parts, torch.tensor([0.0, 1.0, 1 / 3]))


@pytest.fixture(scope="module")
def rescaling():
    """Learned with the linear action, quickly and well."""
    return learn(Discovered(points=16), "scalar", "ours", 0)


def test_ours_finds_the_rescaling(rescaling):
    found, run = rescaling
    h = found.generators[0] / found.generators[0, 0, 0]
    assert_close(h, torch.diag(torch.tensor([1.0, -1.0])).double(), atol=0.05, rtol=0)
    assert run["found"] and run["action"] == "linear"


def test_a_linear_action_composes_and_an_untrained_perceptron_does_not(rescaling):
    found, run = rescaling
    assert run["composition"] < 1e-12
    _, untrained = learn(Discovered(points=16), "scalar", "untrained", 0)
    assert untrained["composition"] > 0.1


def test_the_loss_stays_along_curves_of_a_symmetry_only(rescaling):
    class settings:
        starts, length, curve_points, random = 16, 1.0, 5, 2

    told = curves(settings, "scalar", rescaling[0], 0)
    assert told["t"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    for form in ("flow", "map"):
        assert told[form][0][-1] < 0.1 * told["random"][-1]
    # Any other element of GL(2) changes it, under the same action.
    assert told["random elements"][-1] > 5 * told["map"][0][-1]


def test_designs_are_the_published_ones_and_ours():
    published, paper, half = DESIGNS["published"], Discovered(), Discovered(published_steps=500, budget=0.5)
    assert published.recipe(ARCHITECTURES["skip"], paper, 3) == Recipe.published(dependent=True, seed=3)
    assert published.recipe(ARCHITECTURES["relu"], half, 0) == Recipe.published(steps=500)
    fresh = published.recipe(
        ARCHITECTURES["transformer"], paper, 0
    )  # "for each training step", section 6.5.5
    assert fresh == Recipe.published(dependent=True, samples=None)
    assert DESIGNS["untrained"].recipe(ARCHITECTURES["relu"], paper, 0).steps == 1
    assert DESIGNS["linear"].recipe(ARCHITECTURES["relu"], half, 2) == Recipe(steps=1000, seed=2)
    assert OURS.keys() == ARCHITECTURES.keys()


# --- The published objective ---


def local(action, h, n=32, seed=0):
    """An action of two parameters on the loss (b a x - y)^2."""
    torch.manual_seed(seed)
    samples = normal(a=(), b=()), normal(x=(), y=())
    params, data = (Space.of(draw(2), "test") for draw in samples)
    losses = Losses(lambda w, x: (w["b"] * w["a"] * x["x"] - x["y"]) ** 2, params, data)
    theta, x = (s.flat(draw(n)).double() for s, draw in zip((params, data), samples, strict=True))
    return Local(losses, action.double(), h.double(), theta, x)


def test_generators_that_cancel_beat_orthogonal_ones():
    """L_orth of section 6.5.2 keeps the sign of the cosine."""
    h, other = torch.tensor([[1.0, 0], [0, 0]]), torch.tensor([[0, 1.0], [0, 0]])
    values = [
        orthogonality(local(Linear(2, 2), torch.stack(pair)), 1.0) for pair in ((h, -h), (h, other), (h, h))
    ]
    assert_close(torch.stack(values), torch.tensor([-1.0, 0.0, 1.0]).double())
    assert_close(cosines(torch.stack([h, -h])), torch.tensor([-1.0]))


class Watched(Anchored):
    """The same map, whose associativity is computed and not taken for granted."""

    anchored = False


def test_associativity_vanishes_for_every_map_that_keeps_the_identity():
    """Theorem 6.3.2 asks nothing beyond the identity axiom: random perceptrons satisfy it, and are no actions."""
    torch.manual_seed(1)
    h = torch.randn(2, 2, 2)
    watched, free = Watched(2, 2, width=16), MLP(2, 2, width=16)
    # The floor under a square root.
    assert associativity(local(watched, h), 1.0) <= TINY**0.5
    assert associativity(local(free, h), 1.0) > 0.1
    here = local(watched, h)
    g = torch.linalg.matrix_exp(here.h)
    twice = watched(g[1], watched(g[0], here.theta, here.x), here.x)
    both = watched(g[1] @ g[0], here.theta, here.x)
    assert ((twice - both).norm(dim=1) / (twice - here.theta).norm(dim=1)).median() > 0.05


def test_the_published_objective_pays_for_a_shrinking_action():
    """A loss that every direction changes has no symmetry: the published way is to stand still, ours is not."""

    def loss(w, x):
        return (2.0 + x["x"].square()) * w["a"]

    samples = normal(a=()), normal(x=())
    recipe = Recipe.published(steps=300, generator_lr=1e-2, validate=100)
    found = discover(loss, *samples, 1, action="linear", recipe=recipe)
    assert not found.found and "trivial" in found.reason
    assert found.grade.norms[0] < 0.02
    params, data = (Space.of(draw(2), "test") for draw in samples)
    theta, x = (s.flat(draw(32)) for s, draw in zip((params, data), samples, strict=True))
    for size in (1.0, 1e-3):
        here = Local(Losses(loss, params, data), Linear(1, 1), size * torch.ones(1, 1, 1), theta, x)
        # Here all directions are alike, whose quotient is that of random ones up to the estimate of the scale.
        assert relative_invariance(here, 1.0) > 0.5
