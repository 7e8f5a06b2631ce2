"""Tasks whose Jacobian at the start is bounded."""

import pytest
import torch
from torch.autograd.functional import jacobian

from isoloss.learn.tasks import BoothTasks, FixedBoothTasks, RosenbrockTasks


def extremes(tasks, drawn):
    """Largest singular value of every Jacobian, or the inverse of the smallest; one task at a time."""
    found = []
    for i in range(drawn.size):
        data = {name: t[i] for name, t in drawn.data.items()}
        values = torch.linalg.svdvals(jacobian(tasks.problem(data).residual, drawn.parameters["w"][i]))
        found.append(max(values[0], 1 / values[1]))
    return torch.stack(found)


@pytest.mark.parametrize("family", [BoothTasks, RosenbrockTasks])
def test_conditioning_bounds_the_singular_values(family):
    free, bounded = family(), family(conditioning=4.0)
    drawn = [tasks.draw(200, torch.Generator().manual_seed(0)) for tasks in (free, bounded)]
    before, after = (extremes(free, d) for d in drawn)
    assert before.max() > 20 and after.max() <= 4
    # Tasks that were good enough are those that the paper would draw.
    good = before <= 4
    assert 0 < good.sum() < 200
    for name in drawn[0].data:
        assert torch.equal(drawn[0].data[name][good], drawn[1].data[name][good])
    assert torch.equal(drawn[0].parameters["w"][good], drawn[1].parameters["w"][good])


@pytest.mark.parametrize(("family", "share"), [(BoothTasks, 7 / 8), (RosenbrockTasks, 2 / 3)])
def test_shares_that_a_bound_of_ten_keeps(family, share):
    """As documented, within 0.05: the two are rounded by up to 0.02, and a share of 1000 has an error of 0.015."""
    spread = extremes(family(), family().draw(1000, torch.Generator().manual_seed(0)))
    assert abs((spread <= 10).double().mean() - share) < 0.05


def test_bounds_that_nothing_meets_are_told():
    with pytest.raises(
        ValueError, match=r"draw: tasks as well .* 3 tasks in 1000 rounds with conditioning = 2.9"
    ):
        FixedBoothTasks(conditioning=2.9).draw(3)
    assert FixedBoothTasks(conditioning=3.1).draw(3).size == 3


@pytest.mark.parametrize("bad", [1.0, -2, float("nan"), float("inf")])
def test_bounds_must_be_numbers_above_one(bad):
    with pytest.raises(ValueError, match="BoothTasks: conditioning must be greater than 1; got"):
        BoothTasks(conditioning=bad)
