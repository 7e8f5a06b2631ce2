"""Perceptrons on images: written out, and what moves them."""

import pytest
import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.learn.tasks import DigitsPerceptron


def drawn(tasks, n=3):
    generator = torch.Generator().manual_seed(0)
    draw = tasks.draw(n, generator)
    return draw, tasks.minibatch(draw.data, generator)


@pytest.mark.parametrize("activation", ["leaky_relu", "tanh"])
def test_loss_is_the_network_written_out(activation):
    tasks = DigitsPerceptron(hidden=7, activation=activation)
    draw, seen = drawn(tasks, 1)
    p = {name: t[0] for name, t in draw.parameters.items()}
    assert {name: tuple(t.shape) for name, t in p.items()} == {
        "0.weight": (7, 64),
        "0.bias": (7,),
        "2.weight": (10, 7),
        "2.bias": (10,),
    }
    z = seen["inputs"][0] @ p["0.weight"].mT + p["0.bias"]
    h = torch.tanh(z) if activation == "tanh" else torch.where(z > 0, z, 0.1 * z)
    scores = (h @ p["2.weight"].mT + p["2.bias"]).log_softmax(1)
    literal = -sum(row[label] for row, label in zip(scores, seen["targets"][0], strict=True)) / 32
    assert_close(tasks.loss(p, {name: t[0] for name, t in seen.items()}), literal)


def test_biases_know_the_width_below():
    draw, _ = drawn(DigitsPerceptron(hidden=100), 50)
    for name, inputs in {"0.weight": 64, "0.bias": 64, "2.weight": 100, "2.bias": 100}.items():
        assert 0.9 * inputs**-0.5 < draw.parameters[name].abs().max() <= inputs**-0.5


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ({"hidden": 12, "batch": 13}, ["R+^12", "GL(12)"]),
        ({"hidden": 12, "batch": 14}, ["R+^12"]),
        ({"hidden": 12, "batch": None, "samples": 13}, ["R+^12", "GL(12)"]),
        ({"hidden": 12, "batch": 13, "activation": "tanh"}, ["GL(12)"]),
        ({"hidden": 12, "batch": 14, "activation": "tanh"}, []),
    ],
    ids=["as many images as units", "one more", "no batches", "tanh", "tanh, one more"],
)
def test_actions_are_those_that_keep_the_loss_of_a_step(changes, groups):
    tasks = DigitsPerceptron(**changes)
    assert [action.group.name for action in tasks.actions] == groups
    draw, seen = drawn(tasks)
    losses = vmap(tasks.loss)(draw.parameters, seen)
    for action in tasks.actions:
        g = action.group.exp(0.1 * torch.randn(3, *action.group.algebra_shape, dtype=torch.float64))
        moved = draw.parameters | vmap(action.act)(g, draw.parameters, seen)
        # Half of the digits, what a condition number up to 1e8 may cost.
        assert_close(vmap(tasks.loss)(moved, seen), losses, rtol=1e-8, atol=0)


def test_scalings_keep_the_loss_on_all_images_and_the_group_does_not():
    tasks = DigitsPerceptron()
    draw, seen = drawn(tasks)
    scalings, dependent = tasks.actions
    change = []
    for action in (scalings, dependent):
        g = action.group.exp(0.1 * torch.randn(3, *action.group.algebra_shape, dtype=torch.float64))
        moved = draw.parameters | vmap(action.act)(g, draw.parameters, seen)
        losses = [vmap(tasks.loss)(p, draw.data) for p in (draw.parameters, moved)]
        change.append(((losses[1] - losses[0]) / losses[0]).abs())
    assert change[0].max() < 1e-12 and change[1].min() > 1e-3
    units = [vmap(action.units)(draw.parameters, seen) for action in (scalings, dependent)]
    assert units[0].shape == (3, 32, 32) and torch.equal(*units)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1; got 0"),
        ({"activation": "gelu"}, "the activation must be one of leaky_relu, tanh; got 'gelu'"),
        ({"samples": 0}, "samples and batch must be at least 1"),
    ],
    ids=["hidden", "activation", "samples"],
)
def test_what_makes_no_task_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DigitsPerceptron(**changes)
