"""Laws of every objective in the registry, evaluated at other parameters: a differentiable function, and no more."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.teleport import OBJECTIVES, Objective, Teleport, always
from landscapes import MADE, landscape
from networks import mlp_symmetries, snapshot

NEEDS_LOSS = ["gradient-norm", "mahalanobis", "predicted-decrease", "sharpness"]


def elsewhere(point, scale=0.05):
    return {n: t + scale * torch.randn_like(t) for n, t in point.parameters.items()}


@pytest.fixture(params=MADE)
def case(request):
    model, optimizer, point = landscape(torch.optim.Adam, activation=nn.Tanh)
    return model, optimizer, point, MADE[request.param](model, point)


def test_every_registered_objective_is_tested_here():
    assert MADE.keys() == OBJECTIVES.keys()


def test_it_is_an_objective(case):
    objective = case[3]
    assert isinstance(objective, Objective)
    assert objective.radius > 0.0 and objective.passes >= 0
    assert isinstance(objective.name, str) and isinstance(objective.lower, bool)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("name", MADE)
def test_it_can_be_raised_or_lowered(name, lower):
    model, _, point = landscape(torch.optim.Adam)
    one, other = MADE[name](model, point, lower=lower), MADE[name](model, point, lower=not lower)
    assert one.lower is lower
    if name != "custom":  # two lambdas
        assert_close(one.evaluate(point, {}), other.evaluate(point, {}), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", MADE)
def test_a_direction_that_is_neither_is_refused(name):
    model, _, point = landscape()
    with pytest.raises(ValueError, match=r"\w+: lower must be True or False; got 'no'; True goes where"):
        MADE[name](model, point, lower="no")


def test_its_gradient_is_that_of_finite_differences(case):
    _, _, point, objective = case
    there, along = elsewhere(point), elsewhere(point, 1.0)
    leaves = {n: t.clone().requires_grad_() for n, t in there.items()}
    value = objective.evaluate(point, leaves)
    assert value.shape == () and value.dtype == torch.float64
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    slope = sum((g * along[n]).sum() for n, g in zip(leaves, found, strict=True) if g is not None)
    step = 1e-5
    ends = [
        objective.evaluate(point, {n: t + s * step * along[n] for n, t in there.items()}) for s in (1, -1)
    ]
    # Central differences: error step^2 of the third derivative, and eps / step.
    assert_close(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)
    assert slope.abs() > 1e-6


def test_transforms_and_autograd_agree(case):
    _, _, point, objective = case
    there = elsewhere(point)
    leaves = {n: t.clone().requires_grad_() for n, t in there.items()}
    found = torch.autograd.grad(objective.evaluate(point, leaves), list(leaves.values()), allow_unused=True)
    by_func = grad(lambda w: objective.evaluate(point, w))(there)
    for n, g in zip(leaves, found, strict=True):
        assert_close(by_func[n], torch.zeros_like(by_func[n]) if g is None else g, rtol=1e-9, atol=1e-12)


def test_it_maps_over_stacked_parameters(case):
    _, _, point, objective = case
    points = [elsewhere(point) for _ in range(3)]
    stacked = {n: torch.stack([p[n] for p in points]) for n in points[0]}
    mapped = vmap(lambda w: objective.evaluate(point, w), randomness="same")(stacked)
    assert_close(mapped, torch.stack([objective.evaluate(point, p) for p in points]), rtol=1e-10, atol=1e-12)


def test_it_is_a_function_and_leaves_no_trace(case):
    model, optimizer, point, objective = case
    there, before, drawn = elsewhere(point), snapshot(model, optimizer), torch.get_rng_state()
    with torch.no_grad():  # as in Teleport.step
        first = objective.evaluate(point, there)
    torch.rand(5)
    second = objective.evaluate(point, {n: t.clone().requires_grad_() for n, t in there.items()})
    assert_close(first, second.detach(), rtol=1e-13, atol=0.0)
    torch.set_rng_state(drawn)
    assert_close(snapshot(model, optimizer), before, rtol=0.0, atol=0.0)
    assert not torch.equal(first, objective.evaluate(point, {}))


def test_absent_parameters_are_those_of_the_point(case):
    _, _, point, objective = case
    there = elsewhere(point)
    partly = {"2.weight": there["2.weight"]}
    whole = point.parameters | partly
    assert_close(objective.evaluate(point, partly), objective.evaluate(point, whole), rtol=0.0, atol=0.0)


def test_it_can_be_followed_along_group_elements(case):
    model, _, point, objective = case
    symmetries = mlp_symmetries(model)
    logs = [torch.zeros(s.group.n, dtype=torch.float64, requires_grad=True) for s in symmetries]
    moved = symmetries.act([a.exp() for a in logs], point.tensors)
    found = torch.autograd.grad(objective.evaluate(point, moved), logs)
    assert all(g.isfinite().all() for g in found)
    assert any(g.abs().max() > 1e-8 for g in found)


@pytest.mark.parametrize("name", NEEDS_LOSS)
def test_without_a_loss_it_says_what_to_give(name):
    model, _, point = landscape()
    point = replace(point, loss=None)
    with pytest.raises(
        ValueError, match=r"must evaluate the loss.*; got none; give Teleport\(\.\.\., loss=closure\)"
    ):
        MADE[name](model, point).evaluate(point, {})


@pytest.mark.parametrize("name", sorted(MADE.keys() - NEEDS_LOSS - {"custom"}))
def test_what_is_no_function_of_the_loss_needs_none(name):
    model, _, point = landscape()
    objective = MADE[name](model, point)
    without = replace(point, loss=None, gradients={})
    assert objective.passes == 0
    assert_close(objective.evaluate(without, {}), objective.evaluate(point, {}), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", ["gradient-norm", "balance"])
def test_evaluation_and_transport_agree_on_the_orbit(name):
    model, _, point = landscape()
    objective, symmetries = MADE[name](model, point), mlp_symmetries(model)
    elements = [(0.3 * torch.randn(s.group.n).double()).exp() for s in symmetries]
    moved = symmetries.act(elements, point.tensors)
    form = objective.form(point)
    carry = symmetries.act if form.power == 1 else symmetries.transport
    rest = () if form.power == 1 else (point.tensors,)
    there = dict(form.tensors) | carry(elements, form.tensors, *rest)
    total = replace(form, tensors=there).value(list(there), torch.float64, torch.device("cpu"))
    assert_close(objective.evaluate(point, moved), total, rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("name", ["curvature", "distance", "custom"])
def test_names_that_need_arguments_say_so(name):
    model, optimizer, _ = landscape()
    with pytest.raises(
        ValueError, match=rf"objective {name} must be given what it needs; .* {OBJECTIVES[name].__name__}\("
    ):
        Teleport(optimizer, mlp_symmetries(model), name)


@pytest.mark.parametrize("name", ["gradient-norm", "balance", "mahalanobis"])
def test_names_of_what_is_transported_are_enough(name):
    model, optimizer, _ = landscape(torch.optim.Adam)
    jump = Teleport(optimizer, mlp_symmetries(model), name, always).step()
    assert jump.after < jump.before if OBJECTIVES[name]().lower else jump.after > jump.before
