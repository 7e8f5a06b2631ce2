"""Sharpness against a loop over Eq. (5.1), and what it is where it is known."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss import find
from isoloss.teleport import (
    LieAscent,
    Loss,
    NullSpaceProjection,
    Point,
    RandomSearch,
    Sharpness,
    Teleport,
    at,
)
from landscapes import landscape

SMALL = {"displacements": (0.05, 0.2, 0.9), "directions": 5}


def literal(point, displacements, directions, seed=0, positive=False):
    """The double sum, one model at a time."""
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    draw = torch.rand if positive else torch.randn
    for _ in range(directions):
        d = {
            n: draw(t.shape, generator=generator, dtype=torch.float32).double()
            for n, t in point.parameters.items()
        }
        length = sum(v.square().sum() for v in d.values()).sqrt()
        for t in displacements:
            total += point.loss({n: w + t * d[n] / length for n, w in point.parameters.items()})
    return total / (len(displacements) * directions)


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("support", ["sphere", "positive"])
def test_it_is_the_double_sum(chunk, support):
    _, _, point = landscape(activation=nn.Tanh)
    objective = Sharpness(**SMALL, support=support, chunk=chunk, seed=7)
    expected = literal(point, **SMALL, seed=7, positive=support == "positive")
    # Directions are of unit length to float32.
    assert_close(objective.evaluate(point, {}), expected, rtol=1e-7, atol=0.0)


def test_the_excess_is_what_the_displacement_adds():
    _, _, point = landscape()
    whole, excess = (Sharpness(**SMALL, excess=e).evaluate(point, {}) for e in (False, True))
    assert_close(whole - excess, point.loss({}), rtol=1e-14, atol=0.0)


def test_on_a_sphere_it_is_the_radius():
    """L = |w|^2 around 0: the mean of t^2, whatever the directions."""
    model = nn.ParameterDict(
        {"a": nn.Parameter(torch.zeros(3).double()), "b": nn.Parameter(torch.zeros(2, 2).double())}
    )
    loss = Loss(lambda: model["a"].square().sum() + model["b"].square().sum(), model)
    point = Point({n: p.detach() for n, p in model.items()}, {}, {"a": 1.0, "b": 1.0}, loss)
    assert Sharpness(**SMALL).evaluate(point, {}).item() == pytest.approx((0.05**2 + 0.2**2 + 0.9**2) / 3)


def test_the_two_supports_differ():
    """On the sphere a linear loss adds nothing on average; in the positive orthant it does."""
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(50).double())})
    loss = Loss(lambda: model["w"].sum(), model)
    point = Point({"w": model["w"].detach()}, {}, {"w": 1.0}, loss)
    sphere, positive = (
        Sharpness(displacements=(1.0,), directions=200, support=s).evaluate(point, {})
        for s in ("sphere", "positive")
    )
    # One over the root of 200 draws, of a sum with standard deviation 1; sqrt(50) sqrt(3) / 2.
    assert sphere.abs() < 0.3
    assert 5.5 < positive < 6.5


def test_the_displacements_of_the_paper():
    objective = Sharpness.of_the_paper(chunk=5, excess=True)
    assert objective.displacements[:3] == (0.001, 0.011, 0.021) and objective.displacements[-1] == 0.191
    assert objective.directions == 200 and objective.passes == 4001
    assert objective.lower and objective.chunk == 5 and not Sharpness.of_the_paper(False).lower


@pytest.mark.parametrize("support, degrees", [("sphere", (0, 2)), ("positive", (0, 1, 2, 3))])
def test_two_displacements_have_the_moments_of_those_of_the_paper(support, degrees):
    two, all_of_them = Sharpness(support=support), Sharpness.of_the_paper()
    assert two.passes == 20
    for n in degrees:
        one, other = (sum(t**n for t in s.displacements) / len(s.displacements) for s in (two, all_of_them))
        assert one == pytest.approx(other)
    # A control: higher ones are not.
    one, other = (sum(t**6 for t in s.displacements) / len(s.displacements) for s in (two, all_of_them))
    assert one < 0.95 * other


def test_of_a_cubic_loss_they_give_what_all_displacements_in_both_directions_do():
    """Direction by direction: what is odd cancels, and what is even has the same mean."""
    a, b = torch.randn(30, 30).double(), torch.randn(30).double()
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(30).double())})
    loss = lambda: b @ model["w"] + model["w"] @ a @ model["w"] + model["w"].pow(3).sum()  # noqa: E731
    point = Point({"w": model["w"].detach()}, {}, {"w": 1.0}, Loss(loss, model))
    lengths = Sharpness.of_the_paper().displacements
    both = Sharpness(displacements=(*lengths, *(-t for t in lengths)), directions=3).evaluate(point, {})
    assert_close(Sharpness(directions=3).evaluate(point, {}), both, rtol=1e-10, atol=0.0)
    # A control: one way the linear part is left.
    one_way = Sharpness(displacements=lengths, directions=3).evaluate(point, {})
    assert (one_way - both).abs() > 0.01 * both.abs()


def test_dropout_draws_the_same_masks_in_every_term():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)).double()
    x = torch.randn(6, 4).double()
    point = Point(
        {n: p.detach() for n, p in model.named_parameters()},
        {},
        {n: 0.1 for n, _ in model.named_parameters()},
        Loss(lambda: model(x).square().mean(), model),
    )
    one, all_at_once = (Sharpness(**SMALL, chunk=c).evaluate(point, {}) for c in (1, 15))
    assert_close(one, all_at_once, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": 0}, "whole numbers of directions and for chunk, at least 1.* got .*, 0, 1 and 0"),
        ({"directions": 2.5}, "whole numbers"),
        ({"displacements": ()}, "must be displacements"),
        ({"displacements": (float("nan"),)}, "must be displacements"),
        ({"chunk": True}, "whole numbers"),
        ({"seed": -1}, "for the seed"),
        ({"excess": "yes"}, "excess must be True or False; got 'yes'; True subtracts"),
        ({"support": "ball"}, "support must be sphere or positive; got 'ball'"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=f"Sharpness: .*{message}"):
        Sharpness(**options)


@pytest.mark.parametrize(
    "solver", [LieAscent(), RandomSearch(), NullSpaceProjection()], ids=lambda s: type(s).__name__
)
def test_single_precision_tells_it_from_the_loss_that_it_contains(solver):
    """All but a thousandth of it is the loss, which no move changes here: half of the digits tell nothing."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))
    x, y = torch.randn(7, 8), torch.randint(3, (7,))

    def loss():
        return nn.functional.cross_entropy(model(x.to(model[0].weight)), y)

    def jump(objective):
        optimizer, symmetries = torch.optim.SGD(model.parameters(), 0.1), find(model, x)
        generator = torch.Generator().manual_seed(0)
        return Teleport(
            optimizer, symmetries, objective, at(0), solver=solver, loss=loss, generator=generator
        ).step()

    flat = jump(Sharpness(displacements=(0.0,), directions=2))
    assert flat.skipped is not None  # a control: the loss alone

    def excess():
        model.double()
        here = {n: p.detach() for n, p in model.named_parameters()}
        found = Sharpness(excess=True).evaluate(
            Point(here, {}, dict.fromkeys(here, 1.0), Loss(loss, model)), {}
        )
        model.float()
        return found.item()

    before = excess()
    assert jump(Sharpness()).skipped is None
    assert excess() < 0.99 * before
