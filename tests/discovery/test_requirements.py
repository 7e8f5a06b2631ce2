"""What is told of losses and actions before training starts."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from discovery.losses import SCALAR
from isoloss.discovery import Recipe, discover
from isoloss.discovery.actions import Action, Residual

SHORT = Recipe(steps=30, batch=16, validate=10, validation=32)
SMALL = {"width": 8}


@pytest.mark.parametrize(
    "loss, error, told",
    [
        (lambda w, x: w["a"] * torch.ones(2, 2), ValueError, "the loss of one sample must be a number, or one for"),
        (lambda w, x: w["a"].detach().item(), ValueError, "must be a number, or one for each data point.* got float"),
        (lambda w, x: x["x"], ValueError, "must depend on the parameters, .*; got a derivative of zero at 32 of 32"),
        (lambda w, x: (w["a"].detach() * x["x"]), ValueError, "must depend on the parameters"),
        (lambda w, x: torch.relu(w["a"] + w["b"] - 4), ValueError, "zero at 32 of 32; .* sample where it is not const"),
        (lambda w, x: w["a"].log(), ValueError, "the loss must be finite at the samples; got nan or inf for"),
        (lambda w, x: w["a"] / 0, ValueError, "the loss must be finite"),
        (lambda w, x: (0 * w["a"]).sqrt(), ValueError, "must have a finite derivative at the samples"),
        (lambda w, x: w["c"], KeyError, "c"),
        (lambda w, x: w["a"] * F.dropout(x["x"], 0.5), NotImplementedError, "that torch can batch"),
        (
            lambda w, x: torch.cdist(w["a"].expand(2, 2), x["x"].expand(2, 2)).sum(),
            NotImplementedError, "differentiate forward .jvp. and then backward; got .*cdist",
        ),
        (lambda w, x: w["a"] if w["a"] > 0 else -w["a"], NotImplementedError, "got .*data-dependent control flow"),
    ],
)  # fmt: skip
def test_what_is_no_loss_is_refused(loss, error, told):
    with pytest.raises(error, match=told):
        discover(loss, *SCALAR[1:], action="linear", recipe=SHORT)


def test_a_wrong_derivative_is_refused():
    """An operation whose forward rule is wrong, as some of torch's have been."""

    class Wrong(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(a):
            return a * a

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return 2 * ctx.saved_tensors[0] * grad

        @staticmethod
        def jvp(ctx, tangent):
            return ctx.saved_tensors[0] * tangent  # half of it

    with pytest.raises(
        NotImplementedError, match="slopes of the loss must agree with those of a backward pass"
    ):
        discover(lambda w, x: Wrong.apply(w["a"]) * x["x"], *SCALAR[1:], action="linear", recipe=SHORT)


class Short(Action):
    def forward(self, g, theta, x):
        return theta[:, :1]


class Odd(Action):
    def __init__(self, params, data):
        super().__init__(params, data)
        self.size = 3

    def forward(self, g, theta, x):
        return theta * g[0, 0]

    def generators(self, count):
        from isoloss.discovery.actions import Generators

        return Generators(count, 2)


@pytest.mark.parametrize(
    "action, options, told",
    [
        ("lineal", None, "action must be one of"),
        ("linear", {"width": 3}, "options must be those of the action 'linear'"),
        (Residual, None, "action must be a name or an Action; got <class"),
        (nn.Linear(2, 2), None, "action must be a name or an Action; got Linear"),
        (Residual(3, 2), None, "the samples, 2 parameters and 2 numbers of data; got one for 3 and 2"),
        (Residual(2, 2), SMALL, "options are for actions by name; got width"),
        (Short(2, 2), None, r"Short must return moved parameters of shape \(32, 2\); got \(32, 1\)"),
        (Odd(2, 2), None, r"generators must be \(k, m, m\) with m = 3, the size of Odd; got \(1, 2, 2\)"),
    ],
)  # fmt: skip
def test_what_is_no_action_is_refused(action, options, told):
    with pytest.raises(ValueError, match=told):
        discover(*SCALAR, action=action, options=options, recipe=SHORT)


def test_a_loss_that_does_not_run_in_float64_is_refused():
    """Before training, not where it is graded."""
    net = nn.Linear(2, 1)  # its bias is not sampled: float32
    loss = lambda w, x: functional_call(net, {"weight": w}, (x,)).sum()  # noqa: E731
    given = {"action": "linear", "recipe": SHORT}
    with pytest.raises(
        ValueError, match="the loss must run in float64 too, where symmetries are graded; got"
    ):
        discover(loss, lambda n: torch.randn(n, 1, 2), lambda n: torch.randn(n, 2), **given)
    net.double()
    assert (
        discover(
            loss, lambda n: torch.randn(n, 1, 2).double(), lambda n: torch.randn(n, 2), **given
        ).params.size
        == 2
    )


def test_a_loss_that_turns_infinite_during_training_is_told_as_such():
    """After the first checks, at new samples."""
    calls = iter(range(10**6))

    def params(n):
        wrong = next(calls) > 5
        return {"a": -torch.ones(n) if wrong else torch.rand(n) + 0.5, "b": torch.randn(n)}

    with pytest.raises(
        ValueError, match="the loss must be finite at the samples; got nan or inf for 16 of 16"
    ):
        discover(
            lambda w, x: w["a"].log() * w["b"] * x["x"], params, SCALAR[2], action="linear", recipe=SHORT
        )
