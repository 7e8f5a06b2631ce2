"""Sharpness and curvature of stacked networks against literal loops and against the curve itself."""

import pytest
import torch
from torch.func import jvp
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.testing import assert_close

from isoloss.reproduce._minima import curvature, directions, sharpness
from isoloss.reproduce._network import act, outputs, unact
from isoloss.reproduce._together import cross_entropy, hot, stack

WIDTHS, MODELS, CLASSES = (12, 6, 5, 4), 3, 4


@pytest.fixture
def weights():
    return tuple(w.double() for w in stack(WIDTHS, MODELS, seed=0))


def test_sharpness_is_the_mean_over_directions_and_displacements(weights):
    x, y = torch.randn(9, WIDTHS[0], dtype=torch.float64), torch.randint(0, CLASSES, (9,))
    around = list(directions(weights, 4, torch.Generator().manual_seed(0)))
    steps = [0.1, 0.5]
    found = sharpness(weights, x, hot(y, CLASSES).double(), cross_entropy, steps, around)
    for i in range(MODELS):
        values = [
            torch_cross_entropy(
                outputs([w[i] + t * d for w, d in zip(weights, direction, strict=True)], x), y
            )
            for direction in around
            for t in steps
        ]
        assert_close(found[i], torch.stack(values).mean())


@pytest.mark.parametrize("positive", [False, True])
def test_directions_are_unit_vectors_of_one_network(weights, positive):
    for direction in directions(weights, 3, torch.Generator().manual_seed(0), positive=positive):
        assert [d.shape for d in direction] == [w.shape[1:] for w in weights]
        assert torch.cat([d.flatten() for d in direction]).norm().item() == pytest.approx(1.0)
        assert all((d >= 0).all() for d in direction) == positive


def test_curvature_is_that_of_the_curve(weights):
    x = torch.randn(5, WIDTHS[0], dtype=torch.float64)
    elements = tuple(torch.randn(h, h, dtype=torch.float64) for h in WIDTHS[1:-1])
    found = curvature(weights, x, elements)
    assert found.shape == (2, MODELS)
    for i in range(MODELS):
        h = x.mT
        for layer, m in enumerate(elements):
            v, u = weights[layer][i], weights[layer + 1][i]
            assert_close(found[layer, i], _curvature(v, u, h, m))
            h = act(v @ h)


def _curvature(v, u, h, m):
    """By differentiating exp(tM) . (V, U) twice."""

    def point(t):
        moved = unact(torch.linalg.matrix_exp(t * m) @ act(v @ h)) @ torch.linalg.pinv(h)
        return torch.cat([(u @ torch.linalg.matrix_exp(-t * m)).flatten(), moved.flatten()])

    def velocity(t):
        return jvp(point, (t,), (torch.ones_like(t),))[1]

    zero = torch.zeros((), dtype=torch.float64)
    first, second = velocity(zero), jvp(velocity, (zero,), (torch.ones_like(zero),))[1]
    aa, bb, ab = first @ first, second @ second, first @ second
    return (aa * bb - ab**2).sqrt() / aa**1.5


def test_curvature_does_not_depend_on_the_length_of_the_element(weights):
    x = torch.randn(5, WIDTHS[0], dtype=torch.float64)
    elements = tuple(torch.randn(h, h, dtype=torch.float64) for h in WIDTHS[1:-1])
    assert_close(curvature(weights, x, tuple(3 * m for m in elements)), curvature(weights, x, elements))


def test_first_layers_can_be_left_out(weights):
    x = torch.randn(5, WIDTHS[0], dtype=torch.float64)
    elements = tuple(torch.randn(h, h, dtype=torch.float64) for h in WIDTHS[1:-1])
    assert_close(curvature(weights, x, elements, skip=1), curvature(weights, x, elements)[1:])
