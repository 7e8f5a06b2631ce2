"""Laws of every objective in the registry: exact on the orbit, better after a jump, within the radius."""

from math import inf

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.teleport import OBJECTIVES, Balance, GradientNorm, Point, Teleport, always
from networks import (
    Attention,
    ConvNet,
    Rotary,
    attention_symmetries,
    backward,
    conv_symmetries,
    gradients,
    linear_symmetries,
    mlp,
    mlp_symmetries,
    rotary_symmetries,
)

# An exact move in float64: a few hundred roundings of relative size 1e-16, times cond(g) = exp(2 * size), at most
# 1e3 here, stay below this.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def network(name):
    build = {
        "mlp": (lambda: mlp(5, 8, 7, 3), mlp_symmetries, (16, 5)),
        "linear": (lambda: mlp(9, 5, 4, 6, activation=nn.Identity), linear_symmetries, (16, 9)),
        "conv": (ConvNet, conv_symmetries, (6, 4, 8, 8)),
        "attention": (Attention, attention_symmetries, (4, 6, 12)),
        "rotary": (Rotary, rotary_symmetries, (4, 6, 6)),
    }
    make, find, shape = build[name]
    model = make().double()
    return model, find(model), torch.randn(shape, dtype=torch.float64)


def objectives():
    for name, cls in OBJECTIVES.items():
        if not hasattr(cls, "form"):
            continue  # those that must be evaluated: test_evaluated.py
        for lower in (True, False):
            yield pytest.param(cls(lower=lower), id=f"{name}, {'lower' if lower else 'higher'}")


@pytest.mark.parametrize("radius", [0.1, 0.5])
@pytest.mark.parametrize("objective", list(objectives()))
@pytest.mark.parametrize("name", ["mlp", "linear", "conv", "attention", "rotary"])
def test_a_jump_keeps_the_function_and_moves_the_gradient_exactly(name, objective, radius):
    model, symmetries, x = network(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.randn_like(model(x))
    model.eval()
    backward(model, x, target)
    outputs = model(x).detach()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    jump = Teleport(optimizer, symmetries, objective, always, radius).step()
    moved = gradients(model)
    backward(model, x, target)
    assert_close(model(x), outputs, **CLOSE)
    assert_close(moved, gradients(model), **CLOSE)
    norm = nn.utils.get_total_norm(gradients(model).values()).item()
    assert jump.gradient_norm_after == pytest.approx(norm, rel=1e-10)
    assert jump.after < jump.before if objective.lower else jump.after > jump.before
    assert 0.0 < jump.size <= radius * (1 + 1e-9)
    for n, p in model.named_parameters():
        assert (p.detach() - before[n]).norm() <= (torch.tensor(2 * radius).exp() - 1) * before[n].norm()


@pytest.mark.parametrize("name", ["mlp", "linear", "conv", "attention", "rotary"])
def test_balance_without_a_bound_keeps_the_function(name):
    model, symmetries, x = network(name)
    model.eval()
    outputs = model(x).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    jump = Teleport(optimizer, symmetries, Balance(), always).step()
    assert_close(model(x), outputs, **CLOSE)
    norm = sum(p.detach().square().sum() for p in model.parameters()).item()
    assert jump.after == pytest.approx(norm, rel=1e-9)
    assert jump.after < jump.before
    assert jump.gradient_norm_before is None


@pytest.mark.parametrize(
    ("name", "size", "gain"),
    [
        # Scalings stop at steps of sqrt(eps), 1.5e-8 in float64, and are then a few of these from the minimum.
        ("mlp", 1e-6, 1e-12),
        ("rotary", 1e-6, 1e-12),
        # Matrices have a ridge of 3e-4 of the mean eigenvalue: the first order in g, the second in the norm.
        ("attention", 1e-2, 1e-6),
    ],
)
def test_balance_a_second_time_finds_nothing_to_do(name, size, gain):
    model, symmetries, _ = network(name)
    teleport = Teleport(torch.optim.SGD(model.parameters(), lr=0.1), symmetries, Balance(), always)
    teleport.step()
    again = teleport.step()
    assert again.size < size
    assert again.after == pytest.approx(again.before, rel=gain)


def test_balance_finds_a_badly_scaled_network_again():
    """Every hidden neuron scaled by a log-normal factor: the balanced network is the same as without."""
    model, symmetries, _ = network("mlp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Teleport(optimizer, symmetries, Balance(), always).step()
    balanced = [p.detach().clone() for p in model.parameters()]
    symmetries.act_([(1.5 * torch.randn(s.group.n, dtype=torch.float64)).exp() for s in symmetries])
    Teleport(optimizer, symmetries, Balance(), always).step()
    assert_close([p.detach() for p in model.parameters()], balanced, rtol=1e-6, atol=1e-7)


def point(**rates):
    tensors = {n: torch.ones(2) for n in rates}
    return Point(tensors, {n: 2 * t for n, t in tensors.items()}, rates)


def test_one_rate_for_all_gives_the_plain_norm():
    form = GradientNorm().form(point(a=0.1, b=0.1))
    assert form.weights == {} and form.power == -1
    assert_close(form.value(["a", "b"], torch.float32, torch.device("cpu")), torch.tensor(16.0))


def test_rates_weigh_the_gradients():
    form = GradientNorm().form(point(a=0.1, b=0.4))
    assert form.weights == {"a": 0.25, "b": 1.0}
    assert_close(form.value(["a", "b"], torch.float32, torch.device("cpu")), torch.tensor(10.0))


def test_rates_of_zero_weigh_nothing():
    assert GradientNorm().form(point(a=0.0, b=0.0)).weights == {}
    assert GradientNorm().form(point(a=0.0, b=0.4)).weights == {"a": 0.0, "b": 1.0}


def test_the_default_radii():
    assert GradientNorm().radius == 0.1
    assert Balance().radius == inf


@pytest.mark.parametrize("cls", [Balance, GradientNorm])
@pytest.mark.parametrize("lower", ["x", "False", 1, None])
def test_lower_is_yes_or_no(cls, lower):
    with pytest.raises(
        ValueError, match=f"{cls.__name__}: lower must be True or False; got .*; True goes where"
    ):
        cls(lower=lower)
