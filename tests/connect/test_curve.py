"""Curves on the level set: ends, constancy of the outputs, derivatives, curvature, components."""

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import isoloss
from connect.points import NETWORKS, draw, planted, run, sequential, tensors
from isoloss.connect import curve, orbit_curve
from isoloss.dependent import Difference, Frame, One, Rotation, Two, act, activation_of
from isoloss.groups import GeneralLinear, Orthogonal, PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry
from isoloss.teleport.curves import OrbitCurve, layer_pairs

TIMES = torch.linspace(0, 1, 5, dtype=torch.float64)


def at(points, k):
    return {n: x[k] for n, x in points.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_are_constant_on_the_curve(name):
    model, symmetries, x, a, elements, b = planted(name, 0.3)
    exact = symmetries.where(lambda s: s.exact)
    elements = [g for s, g in zip(symmetries, elements, strict=True) if s.exact]
    gamma = orbit_curve(a, exact, elements, component="permute")
    points = gamma(TIMES)
    outputs = torch.stack([run(model, at(points, k), x) for k in range(5)])
    assert_close(outputs, outputs[:1].expand_as(outputs), rtol=1e-10, atol=1e-10)
    assert_close(gamma.end, a | exact.act(elements, a), rtol=1e-11, atol=1e-11)
    # It moves: a curve that stays would pass as well. (Behind tanh there are discrete symmetries only.)
    assert float(gamma.length(9)) > 0.1 or not exact.dim


@pytest.mark.parametrize("name", NETWORKS)
def test_many_times_at_once_are_as_one_at_a_time(name):
    *_, symmetries, _, a, elements, _ = planted(name, 0.3)
    gamma = orbit_curve(a, symmetries, elements, component="permute")
    for many, one in (
        (gamma(TIMES), gamma),
        (gamma.velocity(TIMES), gamma.velocity),
        (gamma.acceleration(TIMES), gamma.acceleration),
    ):
        for k in (0, 3):
            assert_close(at(many, k), one(TIMES[k]), rtol=1e-10, atol=1e-11)
    square = gamma(TIMES[:4].reshape(2, 2))
    assert all(x.shape == (2, 2, *a[n].shape) for n, x in square.items())
    assert all(x.shape == (0, *a[n].shape) for n, x in gamma(TIMES[:0]).items())


@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_against_central_differences(name):
    """Errors of h^2 / 6 of the third and fourth derivative, and rounding of eps / h^2: some 1e-7 at h = 1e-4."""
    *_, symmetries, _, a, elements, _ = planted(name, 0.3)
    gamma = orbit_curve(a, symmetries, elements, component="permute")
    h = 1e-4
    here, after, before = (gamma(TIMES[1:3] + d) for d in (0.0, h, -h))
    velocity, acceleration = gamma.velocity(TIMES[1:3]), gamma.acceleration(TIMES[1:3])
    for n, v in velocity.items():
        assert_close((after[n] - before[n]) / (2 * h), v, rtol=1e-5, atol=1e-6)
        assert_close((after[n] - 2 * here[n] + before[n]) / h**2, acceleration[n], rtol=1e-4, atol=1e-5)


def test_one_symmetry_gives_the_curve_of_the_papers_with_the_closed_forms():
    """Eq. (3.5) along one GL: derivatives at 0 are M w and M^2 w, and at t those at the moved point."""
    _, symmetries, _, a, *_ = planted("linear")
    one = symmetries[:1]
    g = one[0].sample(0.2, dtype=torch.float64)
    gamma = orbit_curve(a, one, [g])
    closed = OrbitCurve(one[0], one[0].group.log(g))
    for t in (0.0, 0.7):
        first, second = closed.derivatives(gamma(t), 2)
        assert_close(gamma.velocity(t), first, rtol=1e-9, atol=1e-10)
        assert_close(gamma.acceleration(t), second, rtol=1e-9, atol=1e-10)
        assert_close(gamma(t) | closed.at(t, a), gamma(t), rtol=1e-11, atol=1e-11)


def test_a_rotation_is_an_arc_with_the_length_and_curvature_of_one():
    symmetries = Symmetries([Symmetry(Orthogonal(2), (Slot("w", Block.whole((2, 1)), (0,)),))])
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    gamma = orbit_curve({"w": torch.tensor([[3.0], [4.0]]).double()}, symmetries, [quarter])
    assert_close(gamma.curvature(TIMES), torch.full((5,), 0.2, dtype=torch.float64), rtol=1e-12, atol=0.0)
    assert gamma.length().item() == pytest.approx(5 * torch.pi / 2, rel=1e-12)
    assert_close(gamma.end["w"], torch.tensor([[-4.0], [3.0]]).double(), rtol=1e-15, atol=1e-15)


def test_a_scaling_is_a_hyperbola():
    slots = Slot("u", Block.whole((1,)), (0,)), Slot("v", Block.whole((1,)), (0,), Fraction(-1))
    symmetries = Symmetries([Symmetry(PositiveScaling(1), slots)])
    one = torch.ones(1, dtype=torch.float64)
    gamma = orbit_curve({"u": one, "v": one}, symmetries, [4 * one])
    assert_close(gamma(0.5), {"u": 2 * one, "v": one / 2}, rtol=1e-15, atol=0.0)
    u, v = 2.0, 0.5
    assert gamma.curvature(0.5).item() == pytest.approx(2 * u * v / (u * u + v * v) ** 1.5, rel=1e-12)


@pytest.mark.parametrize("name", ["relu", "linear", "attention", "rms_norm", "rotary"])
def test_the_curve_between_two_points_ends_there(name):
    model, symmetries, x, a, elements, _ = planted(name, 0.3)
    elements = [g if s.dim else None for s, g in zip(symmetries, elements, strict=True)]
    b = a | symmetries.act(elements, a)
    gamma = curve(a, b, symmetries)
    assert not gamma.reflected
    assert_close(gamma.start, a, rtol=1e-13, atol=1e-13)
    assert_close(gamma.end, b, rtol=1e-10, atol=1e-10)
    outputs = [run(model, gamma(t), x) for t in (0.0, 0.5)]
    assert_close(*outputs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("component", ["permute", "flip"])
def test_an_element_of_negative_determinant_needs_another_start(component):
    """Lemma 3.3.1 and Proposition 3.3.2: the reflected point is in the component of the other end."""
    model, symmetries, x, a, *_ = planted("linear")
    g = draw(5, 5)
    g = g if torch.linalg.det(g) < 0 else g[[1, 0, 2, 3, 4]]
    b = a | symmetries.act([g, None, *[None] * (len(symmetries) - 2)], a)
    with pytest.raises(ValueError, match='got a determinant of -.*pass component="permute" or "flip"'):
        curve(a, b, symmetries)
    gamma = curve(a, b, symmetries, component=component)
    assert gamma.reflected
    assert_close(gamma.end, b, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(gamma.start["0.weight"], a["0.weight"])
    r = gamma.steps[0].reflection
    assert torch.linalg.det(r).item() == pytest.approx(-1.0)
    assert ((r == 0) | (r.abs() == 1)).all() and (r >= 0).all() == (component == "permute")
    determinants = [torch.linalg.det(gamma(t)["0.weight"][:, :5]).sign() for t in TIMES]
    assert len(set(map(float, determinants))) == 1  # it never leaves the component
    for t in TIMES:
        assert_close(run(model, gamma(t), x), run(model, a, x), rtol=1e-8, atol=1e-8)


def test_permutations_and_signs_are_made_at_the_start():
    model, symmetries, x, a, _, b = planted("tanh")
    with pytest.raises(ValueError, match="a curve along the group stays in one of its components"):
        curve(a, b, symmetries)
    gamma = curve(a, b, symmetries, component="permute")
    assert gamma.reflected
    assert_close(gamma.start, b, rtol=1e-12, atol=1e-12)  # all of this orbit is discrete


def test_float32_stays_float32():
    model = sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).float()
    symmetries = isoloss.find(model, torch.randn(2, 3)).only(PositiveScaling)
    gamma = orbit_curve(model, symmetries, symmetries.sample())
    assert {x.dtype for x in gamma(TIMES).values()} == {torch.float32}


@pytest.mark.parametrize("action", [Frame(), Difference(), One(), Two()], ids=lambda a: a.name)
def test_data_dependent_curves_keep_the_outputs_of_the_batch(action):
    """Up to the width they do; (k = 4 samples, 6 and 5 units)."""
    model = sequential(nn.Linear(4, 6), nn.LeakyReLU(), nn.Linear(6, 5), nn.LeakyReLU(), nn.Linear(5, 3))
    x = draw(4, 4)
    elements = [GeneralLinear(n).sample(scale=0.1, dtype=torch.float64) for n in (6, 5)]
    gamma = orbit_curve(model, None, elements, action=action, inputs=x)
    # Singular values of 4 x 5 activations and their inverses: a thousand roundings.
    for t in (0.0, 0.4, 1.0):
        assert_close(run(model, gamma(t), x), model(x).detach(), rtol=1e-10, atol=1e-10)
    if action.name != "action-2":
        assert_close(gamma.start, tensors(model), rtol=1e-12, atol=1e-12)
    other = draw(9, 4)
    assert (run(model, gamma.end, other) - model(other)).abs().max() > 1e-3  # of the batch only


def test_convolutions_and_float32_too():
    """A channel is read by several taps, and by several positions of a flattened image."""
    model = sequential(
        nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Conv2d(3, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)
    )
    x, other = draw(1, 1, 4, 4), draw(5, 1, 4, 4)
    swap = GeneralLinear(3).sample(scale=0.1, dtype=torch.float64)[[1, 0, 2]]
    elements = [swap, GeneralLinear(2).sample(scale=0.1, dtype=torch.float64)]
    symmetries = isoloss.find(model, x)
    for where in (symmetries, None):
        gamma = orbit_curve(model, where, elements, action=Difference(), inputs=x, component="permute")
        assert_close(run(model, gamma.start, other), model(other).detach(), rtol=1e-10, atol=1e-10)
        assert_close(run(model, gamma.end, x), model(x).detach(), rtol=1e-9, atol=1e-9)
        assert (gamma.end["0.weight"] - gamma.start["0.weight"]).abs().max() > 1e-3
    gamma = orbit_curve(
        model.float(), symmetries, elements, action=Difference(), inputs=x.float(), component="permute"
    )
    assert {t.dtype for t in gamma(TIMES[:2]).values()} == {torch.float32}


@pytest.mark.parametrize("action", [Frame(), Difference(), One(), Two()], ids=lambda a: a.name)
def test_derivatives_of_data_dependent_curves(action):
    """Against differences of fourth order, whose errors are some 1e-12 of the sixth derivative and 1e-7 of rounding."""
    model = sequential(nn.Linear(4, 6), nn.LeakyReLU(), nn.Linear(6, 5), nn.LeakyReLU(), nn.Linear(5, 3))
    elements = [GeneralLinear(n).sample(scale=0.1, dtype=torch.float64) for n in (6, 5)]
    gamma = orbit_curve(model, None, elements, action=action, inputs=draw(4, 4))
    t, h = torch.tensor([0.3, 0.6]).double(), 1e-3
    stencil = [gamma(t + k * h) for k in (-2, -1, 0, 1, 2)]
    acceleration = gamma.acceleration(t)
    for n, v in gamma.velocity(t).items():
        a, b, c, d, e = (p[n] for p in stencil)
        assert_close((a - 8 * b + 8 * d - e) / (12 * h), v, rtol=1e-5, atol=1e-6)
        assert_close((-a + 16 * b - 30 * c + 16 * d - e) / (12 * h**2), acceleration[n], rtol=1e-5, atol=1e-5)
    assert (gamma.curvature(t) > 0).all()


def test_action_two_of_the_papers_does_not_start_at_the_point():
    """Eq. (3.6) at g = 1 with fewer samples than units: U S S^+ is not U. Beyond the width it is."""
    model = sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 3, bias=False))
    for samples, same in ((3, False), (12, True)):
        gamma = orbit_curve(model, None, [torch.eye(6).double()], action=Two(), inputs=draw(samples, 4))
        assert torch.allclose(gamma.start["2.weight"], model[2].weight, rtol=1e-9, atol=1e-9) == same


def test_beyond_the_width_the_change_is_bounded():
    """Proposition 3.4.1, along the whole curve."""
    model = sequential(nn.Linear(4, 6, bias=False), nn.Sigmoid(), nn.Linear(6, 3, bias=False))
    x = draw(40, 4)
    g = GeneralLinear(6).sample(scale=1.0, dtype=torch.float64)
    gamma = orbit_curve(model, None, [g], action=Two(), inputs=x)
    norm = torch.linalg.matrix_norm(model(x).detach())
    changes = [torch.linalg.matrix_norm(run(model, gamma(t), x) - model(x)).item() for t in TIMES]
    assert changes[0] < 1e-10 < 1e-3 < changes[-1] <= norm


def test_a_permutation_is_the_start_of_a_data_dependent_curve():
    model = sequential(nn.Linear(4, 6), nn.LeakyReLU(), nn.Linear(6, 3))
    x = draw(4, 4)
    g = GeneralLinear(6).sample(scale=0.1, dtype=torch.float64)[[1, 0, 2, 3, 4, 5]]
    with pytest.raises(ValueError, match="got a determinant of"):
        orbit_curve(model, None, [g], action=Difference(), inputs=x)
    gamma = orbit_curve(model, None, [g], action=Difference(), inputs=x, component="permute")
    other = draw(9, 4)
    assert_close(run(model, gamma.start, other), model(other).detach())
    assert_close(gamma.start["0.weight"], model[0].weight.detach()[[1, 0, 2, 3, 4, 5]])
    assert_close(run(model, gamma.end, x), model(x).detach(), rtol=1e-10, atol=1e-10)


def test_clear_sentences():
    model, symmetries, x, a, elements, b = planted("relu")
    with pytest.raises(
        ValueError, match="curve: both points must lie on one orbit of the symmetries; got a relative"
    ):
        curve(a, b | {"4.bias": b["4.bias"] + 1}, symmetries)
    with pytest.raises(
        ValueError, match="a data-dependent action keeps the outputs of one batch; got no inputs"
    ):
        orbit_curve(model, symmetries, elements, action=Frame())
    with pytest.raises(ValueError, match="a data-dependent action needs the model, to run it; got tensors"):
        orbit_curve(a, None, elements, action=Frame(), inputs=x)
    with pytest.raises(ValueError, match="symmetries must be what isoloss.find returns; got NoneType"):
        orbit_curve(model, None, elements)
    with pytest.raises(ValueError, match="one element per pair of layers; got 1 for 2 pairs"):
        orbit_curve(model, None, [None], action=Frame(), inputs=x)
    with pytest.raises(ValueError, match="the element of a pair is a matrix of its width, 6; got"):
        orbit_curve(model, None, [torch.eye(5), None], action=Frame(), inputs=x)
    with pytest.raises(ValueError, match="the action must be Difference"):
        orbit_curve(model, None, [None, None], action=Rotation(), inputs=x)
    with pytest.raises(ValueError, match="lets units be permuted, not flipped"):
        orbit_curve(model, None, [None, None], action=Frame(), inputs=x, component="flip")
    with pytest.raises(ValueError, match="component must be"):
        orbit_curve(model, symmetries, elements, component="other")
    with pytest.raises(
        ValueError, match="a data-dependent action needs two adjacent linear or convolutional layers"
    ):
        orbit_curve(sequential(nn.Linear(4, 2)), None, [], action=Frame(), inputs=x)
    with pytest.raises(ValueError, match="n must be an odd number of at least 3; got 4"):
        orbit_curve(a, symmetries, elements, component="permute").length(4)
    assert layer_pairs(model, x)


@pytest.mark.parametrize("samples", [3, 4, 20])
@pytest.mark.parametrize("action", [Frame(), Difference(), Two()], ids=lambda a: a.name)
def test_the_points_are_those_of_the_action(action, samples):
    """The curve at time 1 against `isoloss.dependent.act`, which goes through singular values."""
    model = sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 3, bias=False))
    x = draw(samples, 4)
    g = GeneralLinear(6).sample(scale=0.2, dtype=torch.float64)
    gamma = orbit_curve(model, None, [g], action=action, inputs=x)
    v, u = model[0].weight.detach(), model[2].weight.detach()
    moved = act(action, g, v, u, x.T, activation_of(model[1]))
    # Condition numbers of activations of some thousand, squared in the fit.
    assert_close(gamma.end["0.weight"], moved[0], rtol=1e-9, atol=1e-9)
    assert_close(gamma.end["2.weight"], moved[1], rtol=1e-7, atol=1e-7)
