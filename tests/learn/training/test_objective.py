"""The meta-loss."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn.training import OBJECTIVES, WEIGHTS, objective

LOSSES = torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 0.5]], dtype=torch.float64)
FIRST = torch.tensor([3.0, 5.0], dtype=torch.float64)
EXPECTED = {
    ("uniform", "value"): [7.0, 3.5],
    ("linear", "value"): [(1 + 8 + 48) / 6, (2 + 16 + 1.5) / 6],
    ("last", "value"): [16.0, 0.5],
    ("uniform", "log"): [2.0, 1.0],
    ("linear", "log"): [(0 + 2 * 2 + 3 * 4) / 6, (1 + 2 * 3 - 3) / 6],
    ("last", "log"): [4.0, -1.0],
}


@pytest.mark.parametrize(("weights", "kind"), EXPECTED)
def test_weighted_means(weights, kind):
    found = objective(LOSSES, weights, kind, FIRST)
    if kind == "log":
        found = found / torch.log(torch.tensor(2.0, dtype=torch.float64))
    assert_close(found, torch.tensor(EXPECTED[weights, kind], dtype=torch.float64))


def test_all_are_tested():
    assert EXPECTED.keys() == {(w, k) for w in WEIGHTS for k in OBJECTIVES}


def test_solved_tasks_count_alike():
    """Whatever rounding makes of them: below 1e-20 of the first loss the logarithm hardly falls."""
    losses = torch.tensor([[1e-24, 1e-300, 1e-10]], dtype=torch.float64)
    found = objective(losses, "uniform", "log", torch.ones(3, dtype=torch.float64))
    floor = torch.tensor(1e-20, dtype=torch.float64).log()
    assert_close(found[:2], floor.expand(2), rtol=0, atol=1e-3)
    assert_close(found[2], losses[0, 2].log(), rtol=0, atol=1e-9)


def test_a_loss_of_zero_is_the_least_and_what_is_no_number_stays():
    zero = torch.zeros(1, 1, requires_grad=True)
    found = objective(zero, "uniform", "log", torch.zeros(1))
    found.sum().backward()
    assert found.isfinite().all() and found < -80
    for value in (torch.nan, torch.inf):
        assert not objective(torch.full((2, 1), value), "uniform", "log", torch.ones(1)).isfinite().any()
