"""Learning rates fall after a step that was too long, and after no other."""

from math import log

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.learn import Design, Layout, LearnedOptimizer, MetaOptimizer

LAYOUT = Layout((("w", (2,)),))


def carried(gradients: list[list[float]], variant: str = "update", scale: float = 1.0) -> list[float]:
    """By what logarithm rates have risen after each of these gradients."""
    meta = MetaOptimizer(Design(variant=(variant,))).double()
    weights = torch.ones(1, 2, dtype=torch.float64)
    state, found = meta.start(LAYOUT, weights), []
    for gradient in gradients:
        seen, state = meta.see(LAYOUT, weights, scale * torch.tensor([gradient], dtype=torch.float64), state)
        _, state = meta.move(seen, state)
        found.append(float(state[f"{variant}/carried"].mean()))
    return found


@pytest.mark.parametrize("variant", ["update", "lr"])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_they_fall_where_the_gradient_turned_round_and_grew_and_stay_there(variant, scale):
    found = carried([[1, 0], [-6, 0], [1, 0], [1, 0]], variant, scale)
    assert_close(found, [0.0, -log(3), -log(3), -log(3)], rtol=1e-12, atol=1e-12)
    # Of a gradient at an angle the component along the last one counts.
    assert_close(carried([[1, 0], [-6, 8]], variant, scale), [0.0, -log(3)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gradient", [[40, 0], [0, 40], [-40, 0]])
def test_they_fall_where_it_grew_more_than_tenfold_whatever_its_direction(gradient):
    assert_close(carried([[1, 0], gradient]), [0.0, -log(20)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "gradients",
    [[[1, 0], [-2, 0], [4, 0], [-8, 0]], [[1, 0], [10, 0]], [[1, 0], [0, 10]], [[0, 0], [-100, 0], [0, 0]]],
    ids=["no more than twofold", "same direction", "across", "zero"],
)
def test_elsewhere_they_stay(gradients):
    assert carried(gradients) == [0.0] * len(gradients)


def test_small_minibatches_do_not_make_them_vanish():
    """Their gradients grow more than twofold in every fourth step; if rates fell each time nothing would be learned."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.LeakyReLU(), nn.Linear(16, 1))
    goal, x = torch.randn(10, 1), torch.randn(500, 10)
    optimizer = LearnedOptimizer(model, MetaOptimizer(Design(variant=("update",), rate=0.1)))
    loss = lambda x: (model(x) - x @ goal).square().mean()  # noqa: E731
    before = loss(x).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss(torch.randn(4, 10)).backward()
        optimizer.step()
    assert loss(x).item() < before / 20
