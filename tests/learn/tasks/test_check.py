"""What is said about tasks that cannot be trained on, one sentence each."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from isoloss.learn.tasks import Draw, Tasks, TwoLayerRegression, check_tasks


@dataclass
class Quadratics:
    """A user's own distribution: no base class, nothing imported but Draw."""

    name: ClassVar[str] = "quadratics"
    actions: tuple = ()

    def draw(self, n, generator=None):
        x = torch.randn(n, 3, generator=generator)
        return Draw({"x": x}, {"centre": torch.randn(n, 3, generator=generator)})

    def minibatch(self, data, generator=None):
        return data

    def loss(self, parameters, data):
        return (parameters["x"] - data["centre"]).square().sum()


def test_a_users_own_class_is_accepted():
    assert isinstance(Quadratics(), Tasks)
    before = torch.get_rng_state()
    check_tasks(Quadratics(), n=5)
    check_tasks(Quadratics(), n=1)
    assert torch.equal(before, torch.get_rng_state())


def normal(n, generator, *shape):
    return torch.randn(n, *shape, generator=generator)


def drawing(make):
    return {"draw": lambda self, n, generator=None: make(n, generator)}


def losing(make):
    return {"loss": lambda self, parameters, data: make(parameters["x"], data["centre"])}


WRONG = {
    "not a Draw": (
        drawing(lambda n, g: ({"x": normal(n, g, 3)}, {})),
        TypeError,
        r"Wrong.draw: must return a Draw; got tuple. Wrap",
    ),
    "no parameters": (
        drawing(lambda n, g: Draw({}, {"centre": normal(n, g, 3)})),
        ValueError,
        r"an optimizee must have parameters; got none. There is nothing to train",
    ),
    "empty parameters": (
        drawing(lambda n, g: Draw({"x": normal(n, g, 0)}, {})),
        ValueError,
        r"an optimizee must have parameters; got x \(0,\)",
    ),
    "fewer tasks": (
        drawing(lambda n, g: Draw({"x": normal(n - 1, g, 3)}, {"centre": normal(n, g, 3)})),
        ValueError,
        r"draw: tensors of 4 tasks must have shape \(4, \*shape\); got \(3, 3\) for x. Put",
    ),
    "fewer data": (
        drawing(lambda n, g: Draw({"x": normal(n, g, 3)}, {"centre": normal(1, g, 3)})),
        ValueError,
        r"draw: tensors of 4 tasks must have shape \(4, \*shape\); got \(1, 3\) for centre",
    ),
    "a number among the data": (
        drawing(lambda n, g: Draw({"x": normal(n, g, 3)}, {"centre": 1.0})),
        ValueError,
        r"draw: tensors of 4 tasks .* got float for centre",
    ),
    "whole parameters": (
        drawing(lambda n, g: Draw({"x": normal(n, g, 3).long()}, {"centre": normal(n, g, 3)})),
        ValueError,
        r"must start at finite floating-point numbers; got torch.int64 for x. Look",
    ),
    "nan parameters": (
        drawing(lambda n, g: Draw({"x": normal(n, g, 3) * torch.nan}, {"centre": normal(n, g, 3)})),
        ValueError,
        r"must start at finite floating-point numbers; got nan among 12 numbers for x",
    ),
    "shapes that change": (
        drawing(
            lambda n, g: Draw(
                {"x": normal(n, g, 3)}, {"centre": normal(n, g, 1 + int(g.initial_seed() > 0) * 2)}
            )
        ),
        ValueError,
        r"all draws must have the same names and shapes; got centre \(1,\) and centre \(3,\). Pad",
    ),
    "names that change": (
        drawing(
            lambda n, g: Draw(
                {"x": normal(n, g, 3)}, {"centre": normal(n, g, 3)} | {str(g.initial_seed()): normal(n, g)}
            )
        ),
        ValueError,
        r"the same names and shapes; got 0 \(\), centre \(3,\) and 1 \(\), centre \(3,\)",
    ),
    "generator ignored": (
        drawing(lambda n, g: Draw({"x": normal(n, g, 3)}, {"centre": torch.randn(n, 3)})),
        ValueError,
        r"the generator must decide what is drawn; got two centre from one seed. Pass it",
    ),
    "minibatch of other names": (
        {"minibatch": lambda self, data, generator=None: {}},
        TypeError,
        r"minibatch: must return the data by the same names, centre; got none. Return",
    ),
    "minibatch of one task": (
        {"minibatch": lambda self, data, generator=None: {"centre": data["centre"][0]}},
        ValueError,
        r"minibatch: tensors of 4 tasks must have shape \(4, \*shape\); got \(3,\) for centre",
    ),
    "loss of every entry": (
        losing(lambda x, c: (x - c) ** 2),
        ValueError,
        r"Wrong.loss: must be a scalar, .* for one task; got shape \(3,\), torch.float32. Sum or average",
    ),
    "loss that is no tensor": (
        losing(lambda x, c: ((x - c).sum(), c)),
        ValueError,
        r"loss: must be a scalar, .*; got tuple. Sum",
    ),
    "loss that is infinite": (
        losing(lambda x, c: (x - c).square().sum() / 0),
        ValueError,
        r"loss: must be finite where optimizees start; got inf among 4 numbers. Look",
    ),
    "loss with an infinite gradient": (
        losing(lambda x, c: (x - x.detach()).norm() + (x * 0).abs().sqrt().sum()),
        ValueError,
        r"loss: gradients must be finite where optimizees start; got nan among 12 numbers for x",
    ),
    "loss of nothing": (
        losing(lambda x, c: (x.detach() - c).square().sum()),
        ValueError,
        r"loss: must depend on the parameters; got gradients of 0 for all of x. Nothing",
    ),
    "loss that branches": (
        losing(lambda x, c: x.sum() if x.sum() > 0 else -x.sum()),
        ValueError,
        r"loss: must run on one task under torch.func.vmap and grad; got RuntimeError: .* Write it for one task",
    ),
}


@pytest.mark.parametrize(("members", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_tasks_are_told(members, error, message):
    with pytest.raises(error, match=message) as told:
        check_tasks(type("Wrong", (Quadratics,), members)(), n=4)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("n", [0, -3, 1.5])
def test_no_tasks_are_refused(n):
    with pytest.raises(ValueError, match="Quadratics.draw: at least 1 task must be drawn; got n = "):
        check_tasks(Quadratics(), n=n)


def test_what_is_no_distribution_is_refused():
    with pytest.raises(TypeError, match="got 3 without name, actions, draw, minibatch, loss. See"):
        check_tasks(3)
    with pytest.raises(TypeError, match="tasks must be an object with .*; got .*Quadratics.*, a class. See"):
        check_tasks(Quadratics)


def test_actions_must_know_the_parameters():
    others = TwoLayerRegression().actions
    with pytest.raises(
        ValueError, match=r"optimizee, x; got GL\(20\) by difference, which moves W1, W2. Name"
    ):
        check_tasks(Quadratics(actions=others))


def test_data_that_are_not_finite_may_be_padding():
    class Padded(Quadratics):
        def draw(self, n, generator=None):
            drawn = super().draw(n, generator)
            drawn.data["unused"] = torch.full((n, 2), torch.nan)
            return drawn

    check_tasks(Padded())
