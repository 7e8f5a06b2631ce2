"""Meta-gradients: in segments, and by evolution strategies."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.learn import Draw, Layout, Loop, Recipe
from isoloss.learn.tasks import DigitsPerceptron, TwoLayerRegression
from isoloss.learn.training._estimate import backprop, evolution
from learn.metas import stirred

EPS = torch.finfo(torch.float64).eps
TASKS = TwoLayerRegression(size=3)
DIGITS = DigitsPerceptron(samples=20, batch=6, hidden=8)
DESIGN = {"variant": ("update", "tele", "momentum"), "every": 3}


FIRST = torch.ones(())


def begun(tasks, meta, steps, second_order=False):
    draw = tasks.draw(2, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    loop = Loop(meta, tasks, Layout.of(draw.parameters), second_order=second_order)
    return loop, loop.begin(draw.parameters), [tasks.minibatch(draw.data, generator) for _ in range(steps)]


def gradients(meta, estimate):
    meta.zero_grad()
    told = estimate()
    return told, {name: p.grad.clone() for name, p in meta.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("second_order", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("tasks", [TASKS, DIGITS], ids=["regression", "minibatches"])
def test_segments_are_the_whole(tasks, second_order):
    meta = stirred(tasks, **DESIGN)
    loop, point, batches = begun(tasks, meta, 5, second_order)
    settings = {"weights": "linear"}
    (losses, end), expected = gradients(
        meta, lambda: backprop(loop, Recipe(**settings), point, batches, FIRST)
    )
    for length in (1, 3):
        recipe = Recipe(**settings, segment=length)
        (told, there), found = gradients(meta, lambda: backprop(loop, recipe, point, batches, FIRST))  # noqa: B023
        assert_close(told, losses, rtol=0, atol=0)
        assert_close(there.weights, end.weights, rtol=0, atol=0)
        assert there.step == 5 and there.state.keys() == end.state.keys()
        assert all(torch.equal(t, end.state[name]) for name, t in there.state.items())
        assert found.keys() == expected.keys()
        for name, slope in expected.items():
            # The same sums in another order: five steps of a hundred operations, condition 1e4.
            assert_close(found[name], slope, rtol=0, atol=5e6 * EPS * max(1.0, float(slope.abs().max())))


def test_segments_hold_less():
    """Bytes that autograd keeps at any one time: those of a segment, not of the whole stretch."""
    meta = stirred(TASKS, variant=("update", "momentum"))
    loop, point, batches = begun(TASKS, meta, 12)

    class Kept:
        """Counts as long as autograd holds it."""

        now = most = 0

        def __init__(self, tensor):
            self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
            Kept.now += self.size
            Kept.most = max(Kept.most, Kept.now)

        def __del__(self):
            Kept.now -= self.size

    def plain(weights, data):
        """As `Loop._gradient`, which goes by torch.func.grad; that refuses hooks."""
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            w = weights.detach().requires_grad_()
            values = vmap(TASKS.loss)(loop.layout.unflatten(w), data)
            (g,) = torch.autograd.grad(values.sum(), w)
        return values.detach() + ((weights - weights.detach()) * g).sum(1), g

    loop._gradient = plain

    def peak(segment):
        Kept.now = Kept.most = 0
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            backprop(loop, Recipe(segment=segment), point, batches, FIRST)
        return Kept.most

    whole, pieces = peak(None), peak(3)
    # A quarter of the steps; what of the state is a leaf of every segment is kept besides.
    assert 0 < pieces < whole / 3


@dataclass(frozen=True)
class Bowl:
    """Half the square of the distance to a centre: gradient descent on it is linear."""

    name: ClassVar[str] = "bowl"
    actions: tuple = ()

    def draw(self, n, generator=None):
        w, centre = torch.randn(2, n, 3, generator=generator, dtype=torch.float64)
        return Draw({"w": w}, {"centre": centre})

    def minibatch(self, data, generator=None):
        return data

    def loss(self, parameters, data):
        return (parameters["w"] - data["centre"]).square().sum() / 2


def test_evolution_estimates_the_gradient_of_the_meta_loss():
    """Without bias but for sigma^2: against finite differences, within its own standard error."""
    meta = stirred(Bowl(), variant=("update",), hidden=2, layers=1)
    loop, point, batches = begun(Bowl(), meta, 3)
    # Second order is the exact derivative.
    exact_loop, _, _ = begun(Bowl(), meta, 3, second_order=True)
    _, exact = gradients(meta, lambda: backprop(exact_loop, Recipe(objective="value"), point, batches, FIRST))
    estimates = []
    generator = torch.Generator().manual_seed(3)
    recipe = Recipe(objective="value", estimator="evolution", pairs=64, sigma=1e-3)
    for _ in range(20):
        (losses, end), found = gradients(
            meta, lambda: evolution(loop, recipe, point, batches, FIRST, generator)
        )
        estimates.append(torch.cat([found[name].flatten() for name in exact]))
    (expected, there), _ = gradients(
        meta, lambda: backprop(loop, Recipe(objective="value"), point, batches, FIRST)
    )
    assert_close(losses, expected, rtol=0, atol=0)
    assert_close(end.weights, there.weights, rtol=0, atol=0)
    told = torch.stack(estimates)
    truth = torch.cat([slope.flatten() for slope in exact.values()])
    mean, error = told.mean(0), told.std(0) / 20**0.5
    # Twenty estimates: Student's t beyond 6.5 has probability 3e-6 for each of some eighty numbers.
    assert ((mean - truth).abs() <= 6.5 * error).all()
    # Signs are right where the gradient is well above the error.
    clear = truth.abs() > 6.5 * error
    assert clear.any() and (mean.sign() == truth.sign())[clear].all()
    assert (truth @ mean) / truth.norm() / mean.norm() > 0.9


def test_evolution_runs_with_teleports_and_minibatches():
    meta = stirred(DIGITS, torch.float32, **DESIGN)
    loop, point, batches = begun(DIGITS, meta, 4)
    recipe = Recipe(estimator="evolution", pairs=2)
    one, again = (
        gradients(
            meta, lambda: evolution(loop, recipe, point, batches, FIRST, torch.Generator().manual_seed(5))
        )[1]
        for _ in range(2)
    )
    assert one.keys() == dict(meta.named_parameters()).keys()
    assert all(torch.equal(one[name], again[name]) and one[name].isfinite().all() for name in one)
