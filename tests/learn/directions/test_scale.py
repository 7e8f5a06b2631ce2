"""All units grow."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn.directions import Scale
from learn.directions.points import POINTS


@pytest.mark.parametrize("point", ["linear", "scaling", "dependent"])
def test_doubles_what_enters_the_units_and_halves_what_reads_them(point):
    p = POINTS[point]()
    moved = p.moved(torch.log(torch.tensor(2.0, dtype=torch.float64)) * p.propose(Scale()))
    assert_close(moved["w1"], 2 * p.parameters["w1"])
    # A homogeneous activation; the quotient by S' costs its condition number, below 1e4 here.
    assert_close(moved["w2"], p.parameters["w2"] / 2, rtol=1e-10, atol=1e-10)
