"""Gradient flow against flows that are known in closed form."""

import sys
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss import flow
from networks import mlp


def ellipse(w):
    return w["w"][0] ** 2 + 3.0 * w["w"][1] ** 2


START = {"w": torch.tensor([2.0, -1.0], dtype=torch.float64)}


def exact(t: torch.Tensor) -> torch.Tensor:
    """Dissertation, Eq. (2.20), with a = 3."""
    return torch.stack([2 * torch.exp(-2 * t), -torch.exp(-6 * t)], -1)


@pytest.mark.parametrize("method", ["RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"])
def test_the_ellipse(method):
    """Each step may err by rtol; two hundred of them are taken at most, except by the methods of low order."""
    found = flow.gradient_flow(ellipse, START, 1.0, method=method, rtol=1e-7, atol=1e-9)
    assert len(found) == 101 and found.losses[0] == 7.0
    assert_close(found.tensors["w"], exact(found.t), rtol=0.0, atol=2e-5 if method == "BDF" else 2e-6)
    assert_close(found.velocities["w"], -found.tensors["w"] * torch.tensor([2.0, 6.0]).double())


def test_learning_rates_change_the_speed_of_a_parameter():
    def loss(w):
        return w["a"].square().sum() + w["b"].square().sum()

    start = {"a": torch.ones(2), "b": torch.ones(1)}
    found = flow.gradient_flow(loss, start, [0.0, 0.5], rates={"b": 3.0})
    assert_close(found[1]["a"], torch.full((2,), -1.0).double().exp(), rtol=1e-6, atol=0.0)
    assert_close(found[1]["b"], torch.full((1,), -3.0).double().exp(), rtol=1e-6, atol=0.0)


def test_dense_output_lies_between_the_recorded_times():
    found = flow.gradient_flow(ellipse, START, [0.0, 1.0], dense=True)
    assert_close(found(0.37)["w"], exact(torch.tensor(0.37).double()), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="between 0 and 1; got 2"):
        found(2.0)
    with pytest.raises(ValueError, match="dense=True"):
        flow.gradient_flow(ellipse, START, [0.0, 1.0])(0.5)


def test_a_module_is_left_alone_and_frozen_or_tied_parameters_are_respected():
    model = mlp(3, 4, 3)
    model[2].weight = nn.Parameter(torch.randn(3, 4))
    model[0].bias.requires_grad_(False)
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False))
    tied[2].weight = tied[0].weight
    x = torch.randn(5, 3, dtype=torch.float64)
    for m in (model, tied):
        before = deepcopy(m.state_dict())
        found = flow.gradient_flow(lambda m: m(x).square().mean(), m, [0.0, 0.1])
        assert_close(m.state_dict(), before, rtol=0.0, atol=0.0)
        assert found.tensors.keys() == {n for n, p in m.named_parameters() if p.requires_grad}
        assert found.losses[1] < found.losses[0]
    # the gradient of a tied weight is that of both places
    twice = deepcopy(tied).double()
    twice(x).square().mean().backward()
    assert_close(found.velocities["0.weight"][0], -twice[0].weight.grad)


@pytest.mark.parametrize("method", ["DOP853", "Radau", "LSODA"])
def test_an_interrupt_leaves_the_module_as_it_was(method):
    model, calls = mlp(3, 4, 2), []

    def loss(m):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return m(torch.ones(1, 3).double()).square().sum()

    before = deepcopy(model.state_dict())
    with pytest.raises(KeyboardInterrupt):
        flow.gradient_flow(loss, model, 10.0, method=method, progress=True)
    assert_close(model.state_dict(), before, rtol=0.0, atol=0.0)


def test_the_bar_shows_the_time_reached(capsys):
    flow.gradient_flow(ellipse, START, 1.0, progress=True)
    assert "gradient flow" in capsys.readouterr().err


def test_a_flow_that_does_not_stay_finite_says_how_far_it_came():
    with pytest.raises(ValueError, match="stay finite to t = 2; got as far as t = "):
        flow.gradient_flow(lambda w: -(w["w"] ** 4).sum(), {"w": torch.ones(1)}, 2.0)
    with pytest.raises(ValueError, match="finite at the start; got inf"):
        flow.gradient_flow(lambda w: (1e308 * w["w"] * 1e10).sum(), {"w": torch.ones(1)}, 1.0)


def test_a_flow_that_slides_along_a_kink_ends_at_the_limit():
    """|x| pulls to zero from both sides."""
    with pytest.raises(ValueError, match="500 gradients; got as far as t = .*kink"):
        flow.gradient_flow(lambda w: w["w"].abs().sum(), {"w": torch.ones(1)}, 2.0, limit=500)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": -1.0}, "t must be a positive number"),
        ({"t": [0.0, 2.0, 1.0]}, "increasing times"),
        ({"t": float("nan")}, "t must be a positive number"),
        ({"t": "long"}, "t must be a positive number, .* got 'long'"),
        ({"method": "Euler"}, "method must be one of RK45, .* got 'Euler'"),
        ({"rtol": "1e-3"}, "rtol must lie between 0 and 1; got '1e-3'"),
        ({"rtol": 0.0}, "rtol must lie between 0 and 1; got 0.0"),
        ({"limit": 0}, "limit must be a whole number"),
        ({"rates": {"v": 1.0}}, "got one for v; the parameters are w"),
        ({"rates": {"w": -1.0}}, "positive number; got -1.0 for w"),
        ({"params": {}}, "params must hold numbers"),
        ({"params": {"w": torch.tensor([float("nan")])}}, "got inf, nan or no values in w"),
        ({"loss": lambda: 1.0}, r"loss must be a function of the model, .* got \(\)"),
        (
            {"params": {"w": torch.ones(2, dtype=torch.cfloat)}},
            "params must be real; got torch.complex64 for w",
        ),
        ({"loss": lambda w: w["w"]}, r"one number; got shape \(2,\)"),
        ({"loss": lambda w: 1.0}, "one number; got float"),
        ({"loss": lambda w: torch.ones(())}, "without a graph"),
        ({"loss": lambda w: (torch.ones(2, 2) @ w["w"]).sum()}, "computed in float64"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, message):
    arguments = {"loss": ellipse, "params": START, "t": 1.0} | change
    with pytest.raises(ValueError, match=message):
        flow.gradient_flow(**arguments)


def test_a_list_of_parameters_is_no_set_of_named_tensors():
    with pytest.raises(TypeError, match=r"named tensors; got list; pass the model"):
        flow.gradient_flow(ellipse, [torch.ones(2)], 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("package", "options"), [("scipy.integrate", {}), ("tqdm", {"progress": True})])
def test_a_package_that_is_absent_is_named_with_its_extra(monkeypatch, package, options):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package.split('.')[0]}.*isoloss\[flow\]"):
        flow.gradient_flow(ellipse, START, 1.0, **options)


def test_what_a_loss_raises_is_passed_on():
    with pytest.raises(RuntimeError, match="mine"):
        flow.gradient_flow(lambda w: (_ for _ in ()).throw(RuntimeError("mine")), START, 1.0)
