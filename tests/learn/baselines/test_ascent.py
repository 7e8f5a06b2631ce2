"""Teleports to larger gradients: the loss stays, the gradient grows, what breaks a rule is refused task by task."""

import pytest
import torch
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.learn.actions import Dependent
from isoloss.learn.baselines import Ascent
from isoloss.learn.tasks import (
    BoothTasks,
    DigitsPerceptron,
    FixedBoothTasks,
    RosenbrockTasks,
    TwoLayerRegression,
)
from learn.baselines.toys import Hyperbolas

DIGITS = 1.5e-8
"""Half of those of float64."""

CASES = {
    "through the data": TwoLayerRegression(size=6),
    "scalings and through the data": TwoLayerRegression(size=6, scalings=True),
    "scalings of a perceptron, and through its images": DigitsPerceptron(samples=5, batch=None, hidden=4),
    "rotations of ellipses": BoothTasks(),
    "rotations of valleys": RosenbrockTasks(),
}


def measured(tasks, parameters, data):
    slopes = vmap(grad(tasks.loss))(parameters, data)
    return vmap(tasks.loss)(parameters, data), sum(
        s.flatten(1).square().sum(1) for s in slopes.values()
    ).sqrt()


@pytest.mark.parametrize("radius", [0.1, 1.0])
@pytest.mark.parametrize("tasks", CASES.values(), ids=CASES)
def test_the_loss_stays_and_the_gradient_grows(tasks, radius):
    draw = tasks.draw(5, torch.Generator().manual_seed(0))
    landing = Ascent(radius=radius)(tasks, tasks.actions, draw.parameters, draw.data)
    loss, norm = measured(tasks, draw.parameters, draw.data)
    there, grown = measured(tasks, landing.parameters, draw.data)
    assert_close(there, loss, rtol=DIGITS, atol=0)
    assert (landing.gains > 1).all()
    # Of numbers that agree to rounding times the condition of the map.
    assert_close(landing.gains, grown / norm, rtol=1e-6, atol=0)
    assert_close(landing.changes, (there - loss) / loss, rtol=0, atol=DIGITS)
    assert (landing.sizes > 0).all() and (landing.sizes <= radius).all()


def test_a_larger_radius_leads_further():
    tasks = TwoLayerRegression(size=6)
    draw = tasks.draw(5, torch.Generator().manual_seed(0))
    near, far = (Ascent(radius=r)(tasks, tasks.actions, draw.parameters, draw.data) for r in (0.05, 0.5))
    assert (far.gains > near.gains).all()


def test_sizes_are_angles_of_rotations():
    """On |A w|^2 the new variables A w turn by the size over the square root of 1: the spectral norm is the angle."""
    tasks = FixedBoothTasks()
    draw = tasks.draw(6, torch.Generator().manual_seed(0))
    landing = Ascent(radius=0.3)(tasks, tasks.actions, draw.parameters, draw.data)
    before, after = (tasks.problem({}).residual(w["w"]) for w in (draw.parameters, landing.parameters))
    cosine = (before * after).sum(1) / before.norm(dim=1) / after.norm(dim=1)
    assert_close(landing.sizes, cosine.acos(), rtol=1e-6, atol=1e-7)


def test_scalings_climb_as_far_as_they_may():
    """|grad|^2 = (u v - 1)^2 (u^2 + v^2) grows with g to the end: ten steps of a hundredth, shrunk at the boundary."""
    tasks = Hyperbolas()
    draw = tasks.draw(2)
    landing = Ascent(radius=0.1)(tasks, tasks.actions, draw.parameters, draw.data)
    g = torch.tensor(0.1 * 2 ** (-1 / 16), dtype=torch.float64).exp()
    assert_close(landing.parameters["u"], 2 * g.expand(2, 1), rtol=1e-12, atol=0)
    assert_close(landing.parameters["v"], (1 / g).expand(2, 1), rtol=1e-12, atol=0)
    assert_close(landing.gains, ((4 * g**2 + g**-2) / 5).sqrt().expand(2), rtol=1e-12, atol=0)


def test_what_does_not_keep_the_loss_is_refused():
    tasks = Hyperbolas(honest=False)
    draw = tasks.draw(2)
    landing = Ascent()(tasks, tasks.actions, draw.parameters, draw.data)
    assert_close(landing.parameters, draw.parameters, rtol=0, atol=0)
    assert landing.gains.tolist() == [1.0, 1.0]
    assert landing.changes.tolist() == landing.sizes.tolist() == [0.0, 0.0]


def test_where_there_is_no_gradient_nothing_moves():
    tasks = Hyperbolas()
    one = torch.ones(1, 1, dtype=torch.float64)
    landing = Ascent()(tasks, tasks.actions, {"u": 2 * one, "v": one / 2}, {})
    assert landing.gains.tolist() == [1.0] and landing.sizes.tolist() == landing.changes.tolist() == [0.0]


def test_weights_grow_no_further_than_allowed():
    tasks = Hyperbolas()
    draw = tasks.draw(1)
    for growth, most in ((1.0, 1.0), (1.05, 1.05)):
        landing = Ascent(radius=1.0, growth=growth)(tasks, tasks.actions, draw.parameters, draw.data)
        u, v = landing.parameters["u"], landing.parameters["v"]
        length = float((u.square() + v.square()).sqrt() / 5**0.5)
        assert length <= most
        assert float(landing.sizes) > 0 if growth > 1 else float(landing.sizes) == 0
    # Steps are halved as often as they are refused, so that the bound is nearly reached.
    assert length > 1.04


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, 1e200], ids=str)
def test_a_task_that_cannot_move_does_not_disturb_the_others(broken):
    tasks = TwoLayerRegression(size=6)
    draw = tasks.draw(3, torch.Generator().manual_seed(0))
    hurt = {name: x.clone() for name, x in draw.parameters.items()}
    hurt["W1"][1] = broken
    landing = Ascent()(tasks, tasks.actions, hurt, draw.data)
    whole = Ascent()(tasks, tasks.actions, draw.parameters, draw.data)
    assert landing.gains[1] == 1 and landing.sizes[1] == landing.changes[1] == 0
    assert_close(landing.parameters["W1"][[0, 2]], whole.parameters["W1"][[0, 2]], rtol=1e-9, atol=1e-12)
    assert_close(landing.parameters["W1"][1], hurt["W1"][1], rtol=0, atol=0, equal_nan=True)


def test_float32_has_fewer_digits():
    tasks = TwoLayerRegression(size=6, dtype=torch.float32)
    draw = tasks.draw(4, torch.Generator().manual_seed(0))
    landing = Ascent()(tasks, tasks.actions, draw.parameters, draw.data)
    assert (landing.gains > 1).all() and (
        landing.changes.abs() <= torch.finfo(torch.float32).eps ** 0.5
    ).all()
    assert landing.parameters["W1"].dtype == torch.float32


def test_only_the_actions_given_move():
    tasks = TwoLayerRegression(size=6, scalings=True)
    draw = tasks.draw(3, torch.Generator().manual_seed(0))
    exact = tuple(x for x in tasks.actions if not isinstance(x, Dependent))
    landing = Ascent()(tasks, exact, draw.parameters, draw.data)
    rows = landing.parameters["W1"] / draw.parameters["W1"]
    assert_close(rows, rows[..., :1].expand_as(rows), rtol=1e-12, atol=0)
    assert (landing.gains > 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"radius": 0.0}, "the radius must be positive; got 0.0"),
        ({"radius": float("inf")}, "the radius must be positive; got inf"),
        ({"growth": 0.5}, "growth must be at least 1; got 0.5"),
    ],
)
def test_settings_that_make_no_ascent_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Ascent(**settings)
