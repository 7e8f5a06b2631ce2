from dataclasses import replace
from math import inf, log

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dependent.nets import closure, gradient_norm, perceptron, symmetries_of
from isoloss import Teleport
from isoloss.dependent import Search, search, teleport_
from isoloss.groups import Permutation
from isoloss.teleport import SOLVERS, DependentAscent, GradientNorm, Point, always, every
from isoloss.teleport._scalings import Scalings


def point_of(model, loss, names=None, rates=None):
    tensors = {n: p.detach() for n, p in model.named_parameters() if names is None or n in names}
    found = torch.autograd.grad(loss(), [dict(model.named_parameters())[n] for n in tensors])
    gradients = dict(zip(tensors, found, strict=True))
    return Point(tensors, gradients, rates or dict.fromkeys(tensors, 0.1), lambda tensors: loss())


def solve(model, point, objective=None, radius=0.1, **options):
    symmetries = symmetries_of(model)
    solver = DependentAscent(symmetries, **options)
    used = [s for s in symmetries if solver.uses(s)]
    scalings = Scalings(used, {n: tuple(t.shape) for n, t in point.tensors.items()}, dtype=torch.float64)
    return solver.solve(objective or GradientNorm(), used, scalings, point, radius)


def test_it_is_registered():
    assert SOLVERS["dependent-ascent"] is DependentAscent
    assert (
        repr(DependentAscent(symmetries_of(perceptron(3, 4, 2))))
        == "DependentAscent(steps=10, keep='outputs')"
    )


@pytest.mark.parametrize(
    "solver", ["dependent-ascent", DependentAscent(), DependentAscent(steps=10)], ids=str
)
def test_teleport_tells_it_the_symmetries(solver):
    jumps = []
    for given in (None, solver):
        torch.manual_seed(0)
        model = perceptron(6, 10, 8, 3)
        loss, symmetries = closure(model, 5), symmetries_of(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        teleport = Teleport(
            optimizer, symmetries, schedule=always, solver=given or DependentAscent(symmetries), loss=loss
        )
        loss().backward()
        jumps.append(teleport.step())
    assert jumps[0] == jumps[1] and jumps[0].skipped is None


def test_without_a_model_it_uses_nothing_and_says_so():
    model = perceptron(6, 10, 3)
    loss, symmetries = closure(model, 5), symmetries_of(model)
    assert not any(DependentAscent().uses(s) for s in symmetries)
    with pytest.raises(ValueError, match=r"DependentAscent: it must know the model; got no symmetries"):
        DependentAscent().displaced(GradientNorm(), list(symmetries), point_of(model, loss), 0.1)


def test_it_uses_permutations_of_hidden_units():
    model = perceptron(6, 10, 8, 3)
    symmetries = symmetries_of(model)
    used = [s for s in symmetries if DependentAscent(symmetries).uses(s)]
    assert len(used) == 2 and all(isinstance(s.group, Permutation) for s in used)
    assert len(used) < len(symmetries)


@pytest.mark.parametrize("k", [5, 40])
@pytest.mark.parametrize("lower", [False, True])
def test_what_it_displaces_is_where_a_teleport_leads(k, lower):
    model = perceptron(6, 10, 8, 3, activation=nn.Tanh)
    loss = closure(model, k)
    solution = solve(model, point_of(model, loss), GradientNorm(lower=lower), steps=4)
    assert solution.elements == [None, None]
    before = gradient_norm(model, loss)
    report = teleport_(symmetries_of(model), loss, steps=4, lower=lower)
    for name, p in model.named_parameters():
        assert_close(solution.displaced[name], p.detach())
    assert_close(solution.before.item(), 2 * before)
    assert_close(solution.after.item(), 2 * gradient_norm(model, loss), rtol=1e-6, atol=1e-9)
    assert_close(solution.size.item(), -log(1 - report.size))
    assert solution.size <= 0.1 * (1 + 1e-2)


def test_learning_rates_weigh_the_layers():
    model = perceptron(6, 10, 8, 3)
    loss = closure(model, 5)
    rates = dict.fromkeys(dict(model.named_parameters()), 0.1) | {"0.weight": 0.05, "0.bias": 0.05}
    point = point_of(model, loss, rates=rates)
    solution = solve(model, point)
    expected = sum(rates[n] / 0.1 * g.square().sum().item() for n, g in point.gradients.items())
    assert_close(solution.before.item(), expected)


def test_what_is_kept_is_passed_on():
    model = perceptron(6, 10, 8, 3, activation=nn.Tanh)
    loss, symmetries = closure(model, 9), symmetries_of(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss().backward()
    after = search(symmetries, loss, keep="loss").after
    assert after != search(symmetries, loss).after
    solver = DependentAscent(symmetries, keep="loss")
    jump = Teleport(optimizer, symmetries, solver=solver, schedule=always, loss=loss).step()
    assert_close(jump.gradient_norm_after**2, after)


def test_pairs_that_are_not_all_trained_stay():
    model = perceptron(6, 10, 8, 3)
    loss = closure(model, 5)
    trained = {"2.weight", "2.bias", "4.weight", "4.bias"}
    assert solve(model, point_of(model, loss, trained)).displaced.keys() == trained
    assert (
        "all of its parameters trained" in solve(model, point_of(model, loss, {"4.weight", "4.bias"})).skipped
    )


def test_radius_zero_switches_it_off():
    model = perceptron(6, 10, 8, 3)
    assert solve(model, point_of(model, closure(model, 5)), radius=0.0).skipped == "the radius is 0"


def test_it_needs_a_radius():
    model = perceptron(6, 10, 3)
    point = point_of(model, closure(model, 5))
    with pytest.raises(ValueError, match="radius must be finite"):
        solve(model, point, radius=inf)


def test_it_needs_the_loss():
    model = perceptron(6, 10, 3)
    point = replace(point_of(model, closure(model, 5)), loss=None)
    with pytest.raises(ValueError, match="DependentAscent: must evaluate the loss"):
        solve(model, point)


@pytest.mark.parametrize("k", [5, 40])
def test_a_teleport_in_training_moves_and_computes_the_gradients_anew(k):
    model = perceptron(6, 10, 8, 3, activation=nn.Tanh)
    loss, symmetries = closure(model, k), symmetries_of(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    solver = DependentAscent(symmetries, steps=4)
    teleport = Teleport(
        optimizer, symmetries, solver=solver, schedule=always, loss=loss, max_loss_change=1e-6
    )
    loss().backward()
    value, before = loss().item(), gradient_norm(model, loss)
    jump = teleport.step()
    assert jump.skipped is None
    assert_close(loss().item(), value, rtol=1e-8, atol=0)
    after = gradient_norm(model, loss)
    assert after > 1.01 * before
    assert_close(jump.gradient_norm_after, (2 * after) ** 0.5, rtol=1e-6, atol=1e-9)
    for p, g in zip(model.parameters(), torch.autograd.grad(loss(), list(model.parameters())), strict=True):
        assert_close(p.grad, g)


def trained(k, teleports, rate=0.1):
    """Train on batches of k for 60 steps: the largest growth of a weight's norm, and the loss of all data."""
    torch.manual_seed(0)
    model = perceptron(6, 16, 16, 3)
    x = torch.randn(400, 6).double()
    y = (x[:, :3] + 0.3 * torch.randn(400, 3).double()).argmax(1)
    seen = [slice(0, 400)]
    loss = lambda: nn.functional.cross_entropy(model(x[seen[0]]), y[seen[0]])  # noqa: E731
    symmetries = symmetries_of(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    options = {"solver": DependentAscent(symmetries), "schedule": every(10), "loss": loss}
    teleport = Teleport(optimizer, symmetries, **options)
    norms = lambda: torch.stack([p.detach().norm() for p in model.parameters() if p.dim() > 1])  # noqa: E731
    first, growth = norms(), 1.0
    for _ in range(60):
        seen[0] = torch.randint(400, (k,))
        optimizer.zero_grad()
        loss().backward()
        if teleports:
            teleport.step()
        growth = max(growth, (norms() / first).max().item())
        optimizer.step()
    seen[0] = slice(0, 400)
    return growth, loss().item()


@pytest.mark.parametrize("k", [16, 17, 32])
def test_training_is_safe_with_batches_about_as_large_as_a_layer_is_wide(k):
    growth, value = trained(k, True)
    plain, reference = trained(k, False)
    # Six teleports of at most exp(0.2) each for a layer in two pairs; it takes far less.
    assert growth < 1.5 * plain
    assert value < 1.1 * reference


@pytest.mark.parametrize("k", [16, 17, 32])
def test_without_a_bound_on_the_weights_it_is_not(k, monkeypatch):
    """A control."""
    monkeypatch.setattr(Search, "_reach", lambda *_: 0.0)
    monkeypatch.setattr(Search, "_damp", lambda *_: (False, 1.0))
    growth, value = trained(k, True)
    assert not (growth < 10.0 and value < 10.0)


@pytest.mark.parametrize("value", [float("nan"), inf, -inf])
def test_where_weights_are_not_finite_it_is_skipped(value):
    model = perceptron(6, 10, 8, 3)
    loss, symmetries = closure(model, 5), symmetries_of(model)
    with torch.no_grad():
        model[2].weight[0, 0] = value
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    solver = DependentAscent(symmetries)
    teleport = Teleport(optimizer, symmetries, solver=solver, schedule=always, loss=loss)
    loss().backward()
    assert "not finite" in teleport.step().skipped
