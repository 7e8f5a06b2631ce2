"""The literal forms of the experiments are the library's, to rounding.

They stay because they are what the published numbers were made with: actions on bare matrices with the ascent
differentiated through them, and measures of a hundred stacked networks that share the first layer's product. The
library's objects act on one model and on the symmetries that `find` reports.
"""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from isoloss.dependent import Difference, One, Two, act, activation_of
from isoloss.reproduce._actions import First, Second
from isoloss.reproduce._ascent import gradient_norm
from isoloss.reproduce._minima import curvature, directions, sharpness
from isoloss.reproduce._network import SLOPE, Perceptron, unact
from isoloss.reproduce._together import cross_entropy as hot_cross_entropy
from isoloss.reproduce._together import hot
from isoloss.reproduce.experiments._shared_regression import optimizer, problem, squares
from isoloss.reproduce.experiments._strategies import _preconditioner
from isoloss.teleport import GradientNorm, Mahalanobis, Point, Sharpness
from isoloss.teleport.curves import InverseCurve, LayerPair
from isoloss.teleport.curves import curvature as curvature_of

# Pseudo-inverses of 9 x 4 and 7 x 4 Gaussian matrices, condition below 100, products of at most 9 terms.
TOLERANCE = {"rtol": 9 * 100 * 10 * torch.finfo(torch.float64).eps, "atol": 1e-12}

ACTIONS = {
    "action 1": (First("exact"), One(by_differences=False)),
    "action 1, difference": (First("exact", "difference"), One()),
    "action 2": (Second("moved"), Two()),
    "action 2, difference": (Second("moved", "difference"), Difference()),
}


@pytest.mark.parametrize(("literal", "library"), ACTIONS.values(), ids=ACTIONS)
def test_actions(literal, library):
    generator = torch.Generator().manual_seed(0)
    v, u = (w.detach() for w in Perceptron((9, 7, 5), generator).double().weights)
    x = torch.randn(4, 9, dtype=torch.float64, generator=generator)
    t = 0.1 * torch.randn(7, 7, dtype=torch.float64, generator=generator)
    activation = activation_of(nn.LeakyReLU(SLOPE))
    assert activation is not None
    expected = act(library, torch.eye(7).double() + t, v, u, x.mT, activation)
    for found, matrix in zip(literal((v, u), [t], x), expected, strict=True):
        assert_close(found, matrix, **TOLERANCE)


def point(task, chosen=None):
    """What an objective of the library sees of a regression."""
    named = dict(task.model.named_parameters())
    gradients = torch.autograd.grad(task.loss(), list(named.values()))
    options = {} if chosen is None else chosen.param_groups[0]
    return Point(
        tensors=named,
        gradients=dict(zip(named, gradients, strict=True)),
        rates=dict.fromkeys(named, 1.0),
        loss=lambda tensors: squares(functional_call(task.model, dict(tensors), (task.x,)), task.y),
        state={} if chosen is None else {n: chosen.state[p] for n, p in named.items()},
        options=dict.fromkeys(named, options),
    )


def test_gradient_norm():
    task = problem(0)
    here = point(task)
    literal = gradient_norm(squares, task.x, task.y)(task.weights)
    assert_close(literal, GradientNorm().evaluate(here, {}), rtol=1e-12, atol=0)


def test_mahalanobis_norm_of_adagrad():
    task = problem(0)
    chosen = optimizer("AdaGrad", task, 0.1)
    for _ in range(3):
        chosen.zero_grad()
        task.loss().backward()
        chosen.step()
    here = point(task, chosen)
    literal = gradient_norm(squares, task.x, task.y, _preconditioner(task, chosen))(task.weights)
    assert_close(literal, Mahalanobis().evaluate(here, {}), rtol=1e-12, atol=0)
    named = dict(task.model.named_parameters())
    total = [chosen.state[p]["sum"] + here.gradients[n].square() for n, p in named.items()]
    # Torch's eps of 1e-10 beside gradients of order 1 to 1e3.
    for found, g in zip(_preconditioner(task, chosen), total, strict=True):
        assert_close(found, g.rsqrt(), rtol=1e-8, atol=0)


@pytest.mark.parametrize("support", ["sphere", "positive"])
def test_sharpness(support):
    generator = torch.Generator().manual_seed(0)
    model = Perceptron((12, 6, 5, 4), generator)
    x, y = torch.randn(9, 12, generator=generator), torch.randint(0, 4, (9,), generator=generator)
    steps = (0.1, 0.5)
    objective = Sharpness(displacements=steps, directions=3, support=support, seed=5)
    named = dict(model.named_parameters())
    here = Point(
        named,
        {},
        dict.fromkeys(named, 1.0),
        lambda tensors: cross_entropy(functional_call(model, dict(tensors), (x,)), y),
    )
    stacked = tuple(w.detach().unsqueeze(0) for w in model.weights)
    around = directions(stacked, 3, torch.Generator().manual_seed(5), positive=support == "positive")
    literal = sharpness(stacked, x, hot(y, 4), hot_cross_entropy, list(steps), around)
    # Float32, means of 54 losses of order 1: the rounding of sums of 12 products.
    assert_close(literal[0], objective.evaluate(here, {}).detach(), rtol=12 * 1.2e-7, atol=0)


def test_curvature():
    generator = torch.Generator().manual_seed(0)
    model = Perceptron((12, 6, 5, 4), generator).double()
    x = torch.randn(5, 12, dtype=torch.float64, generator=generator)
    elements = tuple(torch.randn(h, h, dtype=torch.float64, generator=generator) for h in (6, 5))
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    literal = curvature(tuple(w.detach().unsqueeze(0) for w in model.weights), x, elements)
    for layer, m in enumerate(elements):
        pair = LayerPair(model, x, str(2 * layer), str(2 * layer + 2), nn.LeakyReLU(SLOPE), unact)
        expected = curvature_of(*InverseCurve(pair, m).derivatives(tensors, 2))
        # The square root of a difference of squares loses half of the digits where the curve is nearly straight.
        assert_close(literal[layer, 0], expected, rtol=1e-8, atol=0)
