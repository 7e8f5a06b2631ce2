"""Gradient descent as a trajectory."""

from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from isoloss import flow
from networks import mlp


def test_it_takes_the_steps_of_sgd():
    """The same operations in the same order, up to the sign of the gradient: equal to a few roundings a step."""
    model, x = mlp(3, 4, 2).double(), torch.randn(5, 3).double()
    found = flow.gradient_descent(lambda m: m(x).square().mean(), model, 0.1, 7, every=3)
    twin = deepcopy(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(7):
        optimizer.zero_grad()
        twin(x).square().mean().backward()
        optimizer.step()
    assert_close(found.t, torch.tensor([0.0, 0.3, 0.6, 0.7]).double())
    assert_close(found[-1], {n: p.detach() for n, p in twin.named_parameters()}, rtol=1e-13, atol=1e-15)


def test_it_follows_the_flow_to_first_order_in_the_rate():
    """Halving the rate halves the distance."""
    start = {"w": torch.tensor([2.0, -1.0])}

    def loss(w):
        return (w["w"] ** 4).sum()

    end = flow.gradient_flow(loss, start, [0.0, 0.2])[-1]["w"]
    gaps = [(flow.gradient_descent(loss, start, 0.2 / n, n)[-1]["w"] - end).norm() for n in (200, 400)]
    assert 1.8 < gaps[0] / gaps[1] < 2.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0.0}, "rate must be a positive number; got 0.0"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"every": 1.5}, "every must be a whole number"),
        ({"rate": 1e3, "steps": 50}, "loss must stay finite; got .* at step"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, message):
    arguments = {"rate": 0.1, "steps": 3} | change
    with pytest.raises(ValueError, match=message):
        flow.gradient_descent(lambda w: (w["w"] ** 4).sum(), {"w": torch.ones(1)}, **arguments)
