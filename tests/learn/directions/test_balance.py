"""Downhill in the norm of the weights."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn.directions import Balance
from learn.directions.points import POINTS


def test_closed_form_between_linear_layers():
    p = POINTS["linear"]()
    w1, w2 = p.parameters["w1"], p.parameters["w2"]
    want = w2.mT @ w2 - w1 @ w1.mT
    # Products and an eigenvalue, on axes of 5.
    assert_close(p.propose(Balance()), want / torch.linalg.matrix_norm(want, 2), rtol=0, atol=1e-14)


def test_closed_form_of_scalings():
    p = POINTS["scaling"]()
    want = p.parameters["w2"].square().sum(0) - p.parameters["w1"].square().sum(1)
    assert_close(p.propose(Balance()), want / want.abs().max(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("point", POINTS)
def test_weights_shrink_along_it_and_grow_against_it(point):
    p = POINTS[point]()
    a = p.propose(Balance())
    size = [sum(p.moved(t * a)[n].square().sum() for n in p.action.parameters) for t in (-1e-4, 0.0, 1e-4)]
    assert size[0] > size[1] > size[2]
