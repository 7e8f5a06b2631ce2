"""Curved valleys as tasks: the objectives of Figures 5 and 6."""

import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.learn.tasks import FixedRosenbrockTasks, RosenbrockTasks


def test_fixed_objective_is_that_of_figure_5():
    drawn = FixedRosenbrockTasks().draw(50, torch.Generator().manual_seed(0))
    x, y = drawn.parameters["w"].unbind(-1)
    literal = (-2 * y + 0.4 * x**2) ** 2 + (x - 1) ** 2
    assert_close(vmap(FixedRosenbrockTasks().loss)(drawn.parameters, drawn.data), literal)


def test_variable_objective_is_that_of_figure_6():
    drawn = RosenbrockTasks().draw(50, torch.Generator().manual_seed(0))
    (a, b), (c,) = (drawn.data["a"], drawn.data["b"]), drawn.data["c"].unbind(-1)
    d0, d1, d2 = drawn.data["d"].unbind(-1)
    x, y = drawn.parameters["w"].unbind(-1)
    literal = (c * y + d0 + d1 * x + d2 * x**2) ** 2 + (a * x + b) ** 2
    assert_close(vmap(RosenbrockTasks().loss)(drawn.parameters, drawn.data), literal)


def test_everything_is_standard_normal():
    drawn = RosenbrockTasks().draw(4000, torch.Generator().manual_seed(0))
    numbers = torch.cat([t.reshape(4000, -1) for t in (*drawn.parameters.values(), *drawn.data.values())], 1)
    # Five standard errors for each of 8 means and 36 products.
    assert numbers.shape == (4000, 8)
    assert numbers.mean(0).abs().max() < 5 * 4000**-0.5
    assert (numbers.mT @ numbers / 4000 - torch.eye(8)).abs().max() < 5 * (2 / 4000) ** 0.5
