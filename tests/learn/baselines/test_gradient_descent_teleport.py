"""When gradient descent teleports, and with what."""

import pytest
import torch
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.learn.actions import Dependent
from isoloss.learn.baselines import Ascent, GradientDescentTeleport
from isoloss.learn.tasks import DigitsPerceptron, TwoLayerRegression


@pytest.mark.parametrize(
    ("every", "most", "jumps"),
    [(1, None, (0, 1, 2, 3, 4)), (2, None, (0, 2, 4)), (2, 2, (0, 2)), (10, 1, (0,))],
)
def test_which_steps_teleport(every, most, jumps):
    tasks = TwoLayerRegression(size=4)
    draw = tasks.draw(2, torch.Generator().manual_seed(0))
    run = GradientDescentTeleport(every=every, most=most, ascent=Ascent(steps=1)).run(tasks, draw, 5, 1e-3)
    assert run.jumps == jumps and run.gains.shape == (len(jumps), 2)


def test_it_is_a_teleport_and_then_a_step():
    tasks = TwoLayerRegression(size=5)
    draw = tasks.draw(3, torch.Generator().manual_seed(0))
    ascent = Ascent(steps=3)
    run = GradientDescentTeleport(every=1, most=None, ascent=ascent).run(tasks, draw, 2, 1e-3)
    w = draw.parameters
    for step in range(2):
        assert_close(run.losses[step], vmap(tasks.loss)(w, draw.data), rtol=1e-10, atol=0)
        landing = ascent(tasks, tasks.actions, w, draw.data)
        assert_close(run.gains[step], landing.gains, rtol=1e-8, atol=0)
        assert_close(run.changes[step], landing.changes, rtol=0, atol=1e-10)
        assert_close(run.sizes[step], landing.sizes, rtol=1e-8, atol=0)
        slopes = vmap(grad(tasks.loss))(landing.parameters, draw.data)
        w = {name: x - 1e-3 * slopes[name] for name, x in landing.parameters.items()}
    assert_close(run.losses[2], vmap(tasks.loss)(w, draw.data), rtol=1e-10, atol=0)
    assert_close(run.rates, torch.full((2, 3), 1e-3, dtype=torch.float64))


def test_actions_through_a_minibatch_only_on_request():
    """They keep the loss of the minibatch, and move that of all images; the scalings keep both."""
    tasks = DigitsPerceptron(samples=12, batch=4, hidden=4)
    assert any(isinstance(x, Dependent) for x in tasks.actions)
    draw = tasks.draw(4, torch.Generator().manual_seed(0))

    def whole_change(**settings):
        run = GradientDescentTeleport(ascent=Ascent(radius=0.5), **settings).run(
            tasks, draw, 1, 1e-12, torch.Generator().manual_seed(1)
        )
        assert (run.gains > 1).all() and (run.changes.abs() < 1.5e-8).all()
        return (run.losses[1] / run.losses[0] - 1).abs()

    # A step of 1e-12 times the squared gradient, which is below 1e3, moves nothing that is seen here.
    assert (whole_change() < 1e-8).all()
    assert (whole_change(minibatches=True) > 1e-3).any()


@pytest.mark.parametrize("settings", [{"every": 0}, {"most": 0}, {"every": 2.5}], ids=str)
def test_settings_that_make_no_schedule_are_refused(settings):
    with pytest.raises(ValueError, match="every and most must be at least 1; got"):
        GradientDescentTeleport(**settings)
