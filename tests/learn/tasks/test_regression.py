"""The two-layer regression of the papers: literal loss, known gradients, and the losses that were published."""

import pytest
import torch
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.learn.tasks import TwoLayerRegression


def one(tasks, seed=0):
    drawn = tasks.draw(1, torch.Generator().manual_seed(seed))
    return [{name: t[0] for name, t in part.items()} for part in (drawn.parameters, drawn.data)]


def literal(parameters, data, slope):
    """One entry at a time."""
    w1, w2, x, y = (t.tolist() for t in (*parameters.values(), *data.values()))
    size, total = len(x), 0.0
    for k in range(size):
        z = [sum(w1[i][j] * x[j][k] for j in range(size)) for i in range(size)]
        h = [max(v, 0.0) + slope * min(v, 0.0) for v in z]
        total += sum((y[i][k] - sum(w2[i][j] * h[j] for j in range(size))) ** 2 for i in range(size))
    return total / 2


@pytest.mark.parametrize("entries", ["uniform", "normal"])
def test_loss_is_half_the_squared_error(entries):
    tasks = TwoLayerRegression(size=5, entries=entries, slope=0.3)
    parameters, data = one(tasks)
    assert tasks.loss(parameters, data).item() == pytest.approx(literal(parameters, data, 0.3), rel=1e-13)


def test_gradient_is_the_one_written_by_hand():
    tasks = TwoLayerRegression(size=6, entries="normal")
    parameters, data = one(tasks)
    z = parameters["W1"] @ data["X"]
    h = torch.where(z > 0, z, 0.1 * z)
    error = parameters["W2"] @ h - data["Y"]
    below = parameters["W2"].mT @ error * torch.where(z > 0, 1.0, 0.1)
    found = grad(tasks.loss)(parameters, data)
    assert_close(found, {"W1": below @ data["X"].mT, "W2": error @ h.mT})


def test_entries_are_drawn_as_named():
    drawn = TwoLayerRegression().draw(30, torch.Generator().manual_seed(1))
    numbers = torch.stack([*drawn.parameters.values(), *drawn.data.values()])
    assert numbers.shape == (4, 30, 20, 20) and numbers.dtype == torch.float64 and drawn.size == 30
    assert 0 <= numbers.min() < 1e-3 and 1 - 1e-3 < numbers.max() < 1
    normal = TwoLayerRegression(entries="normal", dtype=torch.float32).draw(30).parameters["W1"]
    # Four standard errors of the mean and of the mean square of 12,000 standard normal numbers.
    assert normal.mean().abs() < 4 * 12_000**-0.5 and (normal.square().mean() - 1).abs() < 4 * 6_000**-0.5
    assert normal.dtype == torch.float32


# Mean loss of 5 unseen tasks after 10, 30, 100 steps of gradient descent at 3e-4, by the published code.
PUBLISHED = torch.tensor([3578.0, 49.0, 19.0], dtype=torch.float64)


def descend(tasks, loss):
    """Losses (24, 3) after those numbers of steps."""
    drawn = tasks.draw(24, torch.Generator().manual_seed(0))
    w, losses = drawn.parameters, []
    for step in range(101):
        if step in (10, 30, 100):
            losses.append(vmap(loss)(w, drawn.data))
        slopes = vmap(grad(loss))(w, drawn.data)
        w = {name: w[name] - 3e-4 * slopes[name] for name in w}
    return torch.stack(losses, 1)


def is_published(losses):
    """Within three standard errors of the difference between a mean of 5 tasks and one of 24."""
    tolerance = 3 * losses.std(0) * (1 / 5 + 1 / 24) ** 0.5
    return bool(((losses.mean(0) - PUBLISHED).abs() < tolerance).all())


def test_gradient_descent_gives_the_published_losses():
    tasks = TwoLayerRegression()
    assert is_published(descend(tasks, tasks.loss))


@pytest.mark.parametrize(
    ("entries", "loss"),
    [
        ("normal", TwoLayerRegression().loss),
        ("uniform", lambda p, d: 2 * TwoLayerRegression().loss(p, d)),
        ("uniform", lambda p, d: (2 * TwoLayerRegression().loss(p, d)).sqrt()),
    ],
    ids=["normal entries", "the whole square, which diverges", "the norm, as printed"],
)
def test_other_readings_of_the_papers_do_not(entries, loss):
    assert not is_published(descend(TwoLayerRegression(entries=entries), loss))


def test_scalings_are_offered_on_request():
    offered = [action.group.name for action in TwoLayerRegression(scalings=True).actions]
    assert offered == ["R+^20", "GL(20)"]
    assert [action.group.name for action in TwoLayerRegression().actions] == ["GL(20)"]


def test_scalings_keep_the_function_and_the_group_only_the_data():
    tasks = TwoLayerRegression(size=5, entries="normal", scalings=True)
    parameters, data = one(tasks)
    other = data | {"X": torch.randn(5, 5, dtype=torch.float64)}
    scalings, dependent = tasks.actions
    s = scalings.group.exp(torch.randn(5, dtype=torch.float64))
    g = dependent.group.exp(0.2 * torch.randn(5, 5, dtype=torch.float64))
    scaled = parameters | scalings.act(s, parameters, data)
    moved = parameters | dependent.act(g, parameters, data)
    # Half of the digits: what a condition number up to 1e8 may cost.
    for kept in (scaled, moved):
        assert_close(tasks.loss(kept, data), tasks.loss(parameters, data), rtol=1e-8, atol=0)
    assert_close(tasks.loss(scaled, other), tasks.loss(parameters, other), rtol=1e-8, atol=0)
    assert (tasks.loss(moved, other) / tasks.loss(parameters, other) - 1).abs() > 1e-3


def test_both_actions_see_the_hidden_units():
    tasks = TwoLayerRegression(size=4, scalings=True)
    parameters, data = one(tasks)
    z = parameters["W1"] @ data["X"]
    for action in tasks.actions:
        assert_close(action.units(parameters, data), torch.where(z > 0, z, 0.1 * z))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size must be at least 1; got 0"),
        ({"entries": "cauchy"}, "entries must be one of uniform, normal; got 'cauchy'"),
        ({"slope": 0.0}, "slope must be positive; got 0.0"),
        ({"slope": float("nan")}, "slope must be positive; got nan"),
    ],
    ids=["size", "entries", "slope", "nan"],
)
def test_what_makes_no_task_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TwoLayerRegression(**changes)
