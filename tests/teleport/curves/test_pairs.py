"""Curves through every pair of adjacent layers that `find` reports, convolutions included."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from dependent.nets import convolutional
from isoloss import find
from isoloss.dependent import Difference, Frame, One, act_
from isoloss.groups import GeneralLinear
from isoloss.teleport import Curvature, Point
from isoloss.teleport.curves import (
    ForwardCurve,
    InverseCurve,
    LayerPair,
    OrbitCurve,
    TaylorCurve,
    curvature,
    curvature_rate,
    layer_pairs,
    random_curves,
    taylor,
)
from pairs import CURVES, Sinh, explicit, leaky_inverse

ZERO = torch.zeros((), dtype=torch.float64)
# Derivatives pass through pseudo-inverses of condition at most 1e3 here, three times: eps * 1e3^2 stays below.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


class Functional(nn.Module):
    """Pooling and an activation that no module computes."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 4, 3), nn.Linear(12, 3)

    def forward(self, x):
        return self.second(torch.avg_pool1d(self.first(x).sinh(), 2).flatten(1))


def images(pool=nn.AvgPool2d, activation=nn.Tanh, bias=True):
    """Images of 2 x 6 x 6: two convolutions with padding and strides, pooling, and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=bias),
        activation(),
        pool(2),
        nn.Conv2d(3, 4, 2, stride=2, padding=1, padding_mode="circular", bias=bias),
        activation(),
        nn.Flatten(),
        nn.Linear(16, 5, bias=bias),
        activation(),
        nn.Linear(5, 2, bias=bias),
    ).double()


def drawn(model, k, shape=(2, 6, 6)):
    """Its pairs on a batch, its parameters, and one algebra element for each pair."""
    x = torch.randn(k, *shape, dtype=torch.float64)
    found = layer_pairs(model, x)
    algebra = [torch.randn(p.width, p.width, dtype=torch.float64) / (4 * p.width) for p in found]
    return found, {n: p.detach().clone() for n, p in model.named_parameters()}, algebra


def check(curve, tensors):
    """The closed forms against forward differentiation of the curve as a function of time."""
    closed, at = curve.derivatives(tensors, 3), explicit(curve)
    for one, other in zip(closed, taylor(lambda t: at(t, tensors), ZERO, 3), strict=True):
        assert_close(one, dict(other), **CLOSE)
        assert any(x.abs().max() > 1e-4 for x in other.values())

    def along(t):
        return {"k": curvature(*taylor(lambda s: at(s, tensors), t, 2))}

    assert_close(curvature(*closed[:2]), along(ZERO)["k"], **CLOSE)
    assert_close(curvature_rate(*closed), taylor(along, ZERO, 1)[0]["k"], **CLOSE)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
# Columns are positions times samples: with one image few for the first pair, with 20 many for all.
@pytest.mark.parametrize("samples", [1, 20])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["conv to conv", "conv to linear", "linear to linear"])
@pytest.mark.parametrize("name", ["action 1", "action 2", "action 2, papers"])
def test_closed_forms_on_images_are_those_of_forward_differentiation(name, which, samples, bias):
    found, tensors, algebra = drawn(images(bias=bias), samples)
    layers = found[which]
    if name == "action 1":
        layers = LayerPair(
            layers.model, layers.inputs, layers.incoming, layers.outgoing, layers.activation, torch.atanh
        )
    check(CURVES[name](layers, algebra[which]), tensors)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_frame_on_images_is_that_of_forward_differentiation(which):
    found, tensors, algebra = drawn(images(), 1)
    curve = ForwardCurve(found[which], algebra[which], "frame")
    closed, at = curve.derivatives(tensors, 2), explicit(curve)
    for one, other in zip(closed, taylor(lambda t: at(t, tensors), ZERO, 2), strict=True):
        assert_close(one, dict(other), **CLOSE)


@pytest.mark.parametrize(
    "model, shape",
    [
        (lambda: images(nn.MaxPool2d), (2, 6, 6)),
        (lambda: images(activation=lambda: nn.ReLU(inplace=True)), (2, 6, 6)),
        (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), Sinh(), nn.LayerNorm(6), nn.Conv1d(4, 3, 2)), (2, 8)),
        (lambda: nn.Sequential(nn.Linear(5, 6), nn.Softmax(-1), nn.Linear(6, 3)), (5,)),
        (lambda: nn.Sequential(nn.Conv3d(1, 4, 2), Sinh(), nn.Conv3d(4, 3, (2, 1, 2))), (1, 3, 3, 4)),
        (Functional, (2, 8)),
    ],
    ids=["maxima", "in place", "a module with parameters", "softmax", "volumes", "functions"],
)
@pytest.mark.parametrize("samples", [1, 12])
def test_whatever_lies_between_is_passed_through(model, shape, samples):
    model = model().double()
    found, tensors, algebra = drawn(model, samples, shape)
    check(ForwardCurve(found[0], algebra[0]), tensors)
    for layers, m in zip(found, algebra, strict=True):
        curve = ForwardCurve(layers, m)
        at = lambda t, curve=curve: curve.at(t, tensors)  # noqa: E731
        assert_close(curve.derivatives(tensors, 1)[0], dict(taylor(at, ZERO, 1)[0]), **CLOSE)


@pytest.mark.parametrize(
    "name, action", [("action 2", Difference()), ("frame", Frame()), ("action 1", One())]
)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_curves_are_the_orbits_of_the_actions_on_a_model(name, action, which):
    model = images(activation=lambda: nn.LeakyReLU(0.1))
    found, tensors, algebra = drawn(model, 1)
    assert found[which].inverse(torch.tensor(-0.1)) == leaky_inverse(torch.tensor(-0.1))
    curve, x = CURVES[name](found[which], algebra[which]), found[which].inputs
    expected, outputs = curve.at(0.7, tensors), model(x).detach()
    elements = [torch.linalg.matrix_exp(0.7 * m) if i == which else None for i, m in enumerate(algebra)]
    act_(find(model, x), elements, lambda: model(x).square().sum(), action=action)
    there = {n: p.detach() for n, p in model.named_parameters()}
    # Roundings times the condition of the activations, at most 1e3.
    assert_close({n: there[n] for n in expected}, expected, rtol=0.0, atol=1e-11)
    if name != "action 1":  # which needs fewer columns than inputs
        assert_close(functional_call(model, tensors | expected, (x,)), outputs, rtol=0.0, atol=1e-11)


def test_exact_scalings_of_images():
    model = images(activation=nn.LeakyReLU)
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    curves = random_curves(find(model, torch.randn(2, 2, 6, 6).double()))
    assert len(curves) == 3 and all(isinstance(c, OrbitCurve) for c in curves)
    for curve in curves:
        auto = taylor(lambda t, c=curve: c.at(t, tensors), ZERO, 3)
        for one, other in zip(curve.derivatives(tensors, 3), auto, strict=True):
            assert_close(one, dict(other), **CLOSE)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_exact_matrices_of_images(which):
    """Behind no activation GL acts; U moves by exp(-tM), for torch differentiates nested solves wrongly."""
    model = images(activation=nn.Identity)
    found, tensors, _ = drawn(model, 2)
    symmetries = [s for s in find(model, found[0].inputs) if isinstance(s.group, GeneralLinear)]
    (curve,) = random_curves([symmetries[which]])
    u, v, _ = found[which].read(tensors)
    h = found[which].width
    taps = (u.shape[1] - 1) // h

    def at(t):
        forth, back = (torch.linalg.matrix_exp(sign * t * curve.algebra) for sign in (1, -1))
        read = u[:, :-1].unflatten(1, (h, taps)).transpose(1, 2) @ back
        return found[which].write(read.transpose(1, 2).flatten(1), forth @ v)

    for one, other in zip(curve.derivatives(tensors, 3), taylor(at, ZERO, 3), strict=True):
        assert_close(one, dict(other), **CLOSE)


@pytest.mark.parametrize("form", ["difference", "frame", "papers"])
@pytest.mark.parametrize("samples", [3, 20])
def test_dead_units_and_repeated_samples_do_no_harm(samples, form):
    """The activations lose rank, and keep what is left."""
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        model[0].bias[:3] = -100.0
    x = torch.randn(samples, 5, dtype=torch.float64).repeat(2, 1)
    (layers,) = layer_pairs(find(model, x[:samples]), x)
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    curve = ForwardCurve(layers, torch.randn(8, 8, dtype=torch.float64) / 32, form)
    _, v, columns = layers.read(tensors)
    s = layers.units([v @ columns], tensors)[0]
    assert torch.linalg.matrix_rank(s) < min(s.shape)
    # The frame does what the difference form does there, whose curve torch can differentiate.
    check(ForwardCurve(layers, curve.algebra, "difference") if form == "frame" else curve, tensors)
    plain = ForwardCurve(layers, curve.algebra)
    if form == "frame":
        assert_close(curve.derivatives(tensors), plain.derivatives(tensors))
        assert_close(curve.at(0.3, tensors), plain.at(0.3, tensors), rtol=1e-10, atol=1e-10)


def test_a_rank_that_changes_is_refused():
    """Two units that are the same: any element tells them apart, and the pseudo-inverse jumps."""
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    (layers,), tensors, (m,) = drawn(model, 20, (5,))
    tensors["0.weight"][1], tensors["0.bias"][1] = tensors["0.weight"][0], tensors["0.bias"][0]
    with pytest.raises(ValueError, match="must keep their rank.*got rank 6 of at most 7, which changes"):
        ForwardCurve(layers, m).derivatives(tensors)


def test_every_pair_of_a_chain_is_found():
    blocks = [nn.Sequential(nn.Linear(5, 6), nn.Tanh()), nn.Linear(6, 6), nn.LeakyReLU(0.2), nn.Linear(6, 4)]
    model = nn.Sequential(*blocks, nn.ReLU(), nn.Linear(4, 2)).double()
    x = torch.randn(3, 5, dtype=torch.float64)
    pairs = layer_pairs(model, x)
    assert [(p.incoming, p.outgoing) for p in pairs] == [("0.0", "1"), ("1", "3"), ("3", "5")]
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    for curve in random_curves(pairs, 2):
        moved = tensors | curve.at(1.0, tensors)
        assert_close(functional_call(model, moved, (x,)), model(x).detach(), rtol=0.0, atol=1e-11)
    (curve,) = random_curves(pairs[1:2], action=InverseCurve)
    assert isinstance(curve, InverseCurve)
    assert_close(curve.at(0.0, tensors), {n: tensors[n] for n in ("1.weight", "1.bias", "3.weight")})


def test_a_model_without_a_pair_is_refused():
    with pytest.raises(ValueError, match="pairs: a data-dependent action needs two adjacent linear or conv"):
        layer_pairs(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.randn(3, 2))


def test_dropout_that_draws_is_refused():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 2)).double().eval()
    x = torch.randn(3, 4, dtype=torch.float64)
    symmetries = find(model, x)
    found = layer_pairs(symmetries, x)
    assert found[0].elementwise is found[0].activation[0]
    model.train()
    with pytest.raises(
        ValueError, match=r"must compute the same; got Dropout in training mode; call model.eval"
    ):
        layer_pairs(symmetries, x)


@pytest.mark.parametrize("model", [images(nn.MaxPool2d), Functional().double()], ids=["maxima", "functions"])
def test_action_1_needs_an_activation_that_comes_first(model):
    (layers, *_), tensors, (m, *_) = drawn(model, 2, (2, 8) if isinstance(model, Functional) else (2, 6, 6))
    with pytest.raises(ValueError, match="InverseCurve: between the layers there must be an elementwise"):
        InverseCurve(layers, m).derivatives(tensors)


@pytest.mark.parametrize("samples", [1, 12])
def test_curvature_over_convolutions_is_that_of_forward_differentiation(samples):
    model = convolutional()
    x = torch.randn(samples, 2, 8, 8, dtype=torch.float64)
    curves = random_curves(layer_pairs(model, x), 2)
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    point = Point(tensors, {}, dict.fromkeys(tensors, 0.1))
    found = Curvature(curves).evaluate(point, {})
    assert len(curves) == 6 and found > 0.0
    general = [TaylorCurve(c.at) for c in curves]
    assert_close(found, Curvature(general).evaluate(point, {}), **CLOSE)


def test_in_float32_the_activations_are_inverted_in_float64():
    """Two units that nearly agree: a condition number of 1e4, whose square is beyond float32."""
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0] + 1e-4 * torch.randn(5).double()
        model[0].bias[1] = model[0].bias[0]
    (layers,), tensors, (m,) = drawn(model, 30, (5,))
    low = LayerPair(deepcopy(model).float(), layers.inputs.float(), "0", "2", model[1])
    narrow = {n: t.float() for n, t in tensors.items()}
    layers = LayerPair(model, layers.inputs.float().double(), "0", "2", model[1])
    exact = {n: t.double() for n, t in narrow.items()}
    one, other = (
        curvature(*ForwardCurve(p, m).derivatives(t, 2)) for p, t in ((low, narrow), (layers, exact))
    )
    # The inputs of the first layer are those of the model, not computed: nothing is rounded to float32.
    assert_close(one, other, rtol=1e-9, atol=0.0)
