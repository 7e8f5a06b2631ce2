"""Every objective that can be evaluated, over data-dependent elements."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from dependent.nets import batch, convolutional, perceptron, search_of, somewhere, symmetries_of
from isoloss import Teleport
from isoloss.dependent import Layer, pairs
from isoloss.dependent import _recursion as recursion_module
from isoloss.teleport import (
    OBJECTIVES,
    Balance,
    Curvature,
    Custom,
    DependentAscent,
    Distance,
    GradientNorm,
    Loss,
    Mahalanobis,
    Point,
    PredictedDecrease,
    Sharpness,
    always,
)
from isoloss.teleport._landscape import Landscape
from isoloss.teleport.curves import layer_pairs, random_curves


def nets():
    return {
        "linear": perceptron(6, 8, 7, 3, activation=nn.Tanh),
        "linear, no bias": perceptron(6, 8, 7, 3, activation=nn.Tanh, bias=False),
        "images": convolutional(),
    }


# Below and above the width of every layer; images have up to 36 positions.
SIZES = {"linear": (4, 30), "linear, no bias": (4, 30), "images": (1, 20)}
CASES = [(net, k) for net, sizes in SIZES.items() for k in sizes]


def training(net, k):
    """A model, its batch, and the point of an Adam that has made two steps."""
    torch.manual_seed(0)
    model = nets()[net]
    x, y = batch(model, k)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = lambda: cross_entropy(model(x), y)  # noqa: E731
    for _ in range(2):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    optimizer.zero_grad()
    loss().backward()
    named = dict(model.named_parameters())
    point = Point(
        {n: p.detach().clone() for n, p in named.items()},
        {n: p.grad.clone() for n, p in named.items()},
        dict.fromkeys(named, 0.01),
        Loss(loss, model),
        {n: optimizer.state[p] for n, p in named.items()},
        dict.fromkeys(named, optimizer.param_groups[0]),
    )
    return model, x, loss, point, optimizer


def data_dependent(model, x, lower):
    curves = random_curves(layer_pairs(symmetries_of(model), x), generator=torch.Generator().manual_seed(0))
    return Curvature(curves, lower)


def distance(point, lower):
    return Distance({n: t + 0.1 * torch.randn_like(t) for n, t in point.tensors.items()}, lower)


def custom(point, lower):
    last = list(point.tensors)[-1]
    return Custom(lambda _, w: w["0.weight"].pow(4).sum() + w[last].exp().sum(), lower)


# One of every entry of OBJECTIVES.
MADE = {
    "gradient-norm": lambda model, x, point, lower: GradientNorm(lower),
    "mahalanobis": lambda model, x, point, lower: Mahalanobis(lower),
    "predicted-decrease": lambda model, x, point, lower: PredictedDecrease(lower),
    "sharpness": lambda model, x, point, lower: Sharpness(lower, displacements=(-0.5, 0.5), directions=2),
    "curvature": lambda model, x, point, lower: data_dependent(model, x, lower),
    "balance": lambda model, x, point, lower: Balance(lower),
    "distance": lambda model, x, point, lower: distance(point, lower),
    "custom": lambda model, x, point, lower: custom(point, lower),
}


def literal(model, x, thetas, bases):
    """The moved parameters, by a differentiable forward pass with pseudo-inverses."""
    old = new = x
    tensors, made = {}, {p.producer.name: i for i, p in enumerate(pairs(symmetries_of(model)))}
    for i, (name, module) in enumerate(model.named_children()):
        if not Layer.suits(module):
            old, new = module(old), module(new)
            continue
        layer, shape = Layer(name, module), module(old).shape
        before, now = layer.columns(old), layer.columns(new)
        y = layer.matrix @ before
        w = layer.matrix
        if i:
            w = w + (y - w @ now) @ torch.linalg.pinv(now)
        if name in made:
            theta, q = thetas[made[name]], bases[made[name]]
            w = w + theta @ (w if q is None else q.mT @ w)
        tensors |= layer.tensors(w)
        old, new = layer.image(y, shape), layer.image(w @ now, shape)
    return tensors


def slopes_of(model, x, loss, point, objective):
    """Those of the search and those of autograd through the literal forward, with the values."""
    search, _ = search_of(model, loss, measure=Landscape(objective, point, "test"))
    thetas = somewhere(search)
    found = search.slopes(thetas)
    leaves = [t.clone().requires_grad_() for t in thetas]
    value = objective.evaluate(point, literal(model, x, leaves, search.recursion.bases))
    expected = torch.autograd.grad(value, leaves, allow_unused=True)
    expected = [torch.zeros_like(t) if e is None else e for t, e in zip(thetas, expected, strict=True)]
    return found, value.item(), expected


def error(found, expected):
    """Largest difference, relative to the largest slope."""
    largest = max(e.abs().max().item() for e in expected)
    assert largest > 0.0
    return max((f - e).abs().max().item() for f, e in zip(found, expected, strict=True)) / largest


@pytest.mark.parametrize("net, k", CASES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_slopes_are_those_of_autograd_through_pseudo_inverses(name, net, k):
    model, x, loss, point, _ = training(net, k)
    found, value, expected = slopes_of(model, x, loss, point, MADE[name](model, x, point, False))
    # Both sides invert Gram matrices of condition up to 1e6; the damping of ours is of the size of eps.
    assert_close(found.value, value, rtol=1e-7, atol=1e-10)
    assert error(found.slopes, expected) < 1e-6


@pytest.mark.parametrize("net, k", CASES)
def test_without_the_way_through_the_fits_they_are_not(net, k, monkeypatch):
    """A control."""
    for name in ("through_few_from", "through_many"):
        monkeypatch.setattr(
            recursion_module, name, lambda site, trace, product, below: 0 * trace.x[: site.inputs]
        )
    model, x, loss, point, _ = training(net, k)
    found, _, expected = slopes_of(model, x, loss, point, PredictedDecrease())
    assert error(found.slopes, expected) > 1e-3


@pytest.mark.parametrize("net, k", CASES)
def test_the_evaluated_gradient_norm_is_that_of_the_faster_path(net, k):
    model, _, loss, point, _ = training(net, k)
    evaluated, _ = search_of(model, loss, measure=Landscape(GradientNorm(), point, "test"))
    fast, _ = search_of(model, loss)
    thetas = somewhere(fast)
    one, other = evaluated.slopes(thetas), fast.slopes(thetas)
    assert_close([one.value, one.loss], [2 * other.value, other.loss], rtol=1e-7, atol=1e-10)
    assert error(one.slopes, [2 * s for s in other.slopes]) < 1e-6


@pytest.mark.parametrize("lower", [False, True], ids=["raised", "lowered"])
@pytest.mark.parametrize("net, k", [("linear", 4), ("linear", 30), ("images", 4)])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_teleport_improves_it_and_keeps_the_loss(name, net, k, lower):
    model, x, loss, point, optimizer = training(net, k)
    objective, value = MADE[name](model, x, point, lower), loss().item()
    options = {"schedule": always, "radius": 0.1, "loss": loss, "momentum": "keep", "second_moments": "keep"}
    symmetries = symmetries_of(model)
    solver = DependentAscent(symmetries, steps=4)
    jump = Teleport(optimizer, symmetries, objective, solver=solver, **options).step()
    assert jump.skipped is None
    # Fits that are exact keep the loss to the root of a rounding, Newton steps to 1e-9.
    assert_close(loss().item(), value, rtol=1.5e-8, atol=0)
    there = {n: p.detach() for n, p in model.named_parameters()}
    assert_close(
        [jump.before, jump.after], [objective.evaluate(point, w).item() for w in (point.tensors, there)]
    )
    assert (jump.after < jump.before) if lower else (jump.after > jump.before)


@pytest.mark.parametrize("k", [4, 30])
def test_it_works_in_float32(k):
    model = nets()["linear"]
    symmetries = symmetries_of(model)
    model.float()
    x, y = torch.randn(k, 6), torch.randint(3, (k,))
    loss = lambda: cross_entropy(model(x), y)  # noqa: E731
    value, optimizer = loss().item(), torch.optim.SGD(model.parameters(), lr=0.1)
    solver = DependentAscent(symmetries, steps=4)
    jump = Teleport(optimizer, symmetries, Balance(), always, 0.1, solver, loss=loss).step()
    assert jump.after < jump.before
    assert_close(sum(p.double().square().sum().item() for p in model.parameters()), jump.after)
    # The root of a rounding where fits are exact in theory, 16 roundings else.
    assert_close(loss().item(), value, rtol=3.5e-4, atol=0)


def test_what_does_not_depend_on_the_elements_moves_nothing():
    model, _, loss, _, optimizer = training("linear", 4)
    objective = Custom(lambda point, w: 3.0 + 0.0 * w["0.weight"].sum())
    symmetries, options = symmetries_of(model), {"schedule": always, "loss": loss}
    before = [p.detach().clone() for p in model.parameters()]
    jump = Teleport(optimizer, symmetries, objective, solver=DependentAscent(symmetries), **options).step()
    assert "changes the objective by more than rounding" in jump.skipped
    assert_close([p.detach() for p in model.parameters()], before, rtol=0, atol=0)


def test_what_cannot_be_evaluated_is_refused():
    model, _, loss, _, optimizer = training("linear", 4)
    objective, symmetries = Mahalanobis(second_moments="transport"), symmetries_of(model)
    with pytest.raises(ValueError, match="or second_moments='keep'"):
        Teleport(optimizer, symmetries, objective, always, solver=DependentAscent(symmetries), loss=loss)


def test_a_closed_form_without_a_radius_is_not_to_be_had():
    model, _, loss, _, optimizer = training("linear", 4)
    symmetries = symmetries_of(model)
    with pytest.raises(
        ValueError, match="DependentAscent: the radius must be finite; got inf; give Teleport"
    ):
        Teleport(optimizer, symmetries, Balance(), always, solver=DependentAscent(symmetries), loss=loss)
