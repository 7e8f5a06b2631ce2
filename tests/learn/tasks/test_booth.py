"""Ellipses as tasks: the objectives of Figures 3 and 4."""

import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.learn.tasks import BoothTasks, FixedBoothTasks


def test_fixed_objective_is_that_of_figure_3():
    drawn = FixedBoothTasks().draw(50, torch.Generator().manual_seed(0))
    x, y = drawn.parameters["w"].unbind(-1)
    assert drawn.data == {}
    assert_close(vmap(FixedBoothTasks().loss)(drawn.parameters, {}), (x / 2) ** 2 + (3 * y) ** 2)


def test_variable_objective_is_that_of_figure_4():
    drawn = BoothTasks().draw(50, torch.Generator().manual_seed(0))
    (a, b, c, d), (e, f) = drawn.data["matrix"].flatten(1).unbind(-1), drawn.data["shift"].unbind(-1)
    x, y = drawn.parameters["w"].unbind(-1)
    literal = (a * x + b * y + e) ** 2 + (c * x + d * y + f) ** 2
    assert_close(vmap(BoothTasks().loss)(drawn.parameters, drawn.data), literal)


def test_everything_is_standard_normal():
    drawn = BoothTasks().draw(4000, torch.Generator().manual_seed(0))
    numbers = torch.cat([t.flatten(1) for t in (*drawn.parameters.values(), *drawn.data.values())], 1)
    # Five standard errors for each of 8 means and 36 products.
    assert numbers.shape == (4000, 8)
    assert numbers.mean(0).abs().max() < 5 * 4000**-0.5
    assert (numbers.mT @ numbers / 4000 - torch.eye(8)).abs().max() < 5 * (2 / 4000) ** 0.5


def test_one_ellipse_in_ten_is_badly_conditioned():
    """As documented; four standard errors of a frequency of a tenth."""
    matrices = BoothTasks().draw(4000, torch.Generator().manual_seed(0)).data["matrix"]
    share = (torch.linalg.cond(matrices) > 20).double().mean()
    assert abs(share - 0.1) < 4 * (0.09 / 4000) ** 0.5
