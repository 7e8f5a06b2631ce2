"""Curves of the data-dependent actions: closed forms against forward differentiation, for every pair of layers."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from isoloss.dependent import Activation, Difference, Frame, One, Two
from isoloss.teleport.curves import (
    ForwardCurve,
    InverseCurve,
    LayerPair,
    curvature,
    curvature_rate,
    taylor,
)
from networks import mlp
from pairs import ACTIVATIONS, CURVES, SLOPE, explicit, pair

ZERO = torch.zeros((), dtype=torch.float64)
# Derivatives pass through pseudo-inverses of condition at most 1e3 here, three times: eps * 1e3^2 stays below.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("which", [0, 1], ids=["first pair", "second pair"])
@pytest.mark.parametrize("samples", [4, 20], ids=["few samples", "many samples"])
@pytest.mark.parametrize(
    ("name", "activation"),
    # The twin of the frame takes seconds.
    [(name, a) for name in CURVES for a in ACTIVATIONS if name != "frame" or a == "tanh"],
)
def test_closed_forms_are_those_of_forward_differentiation(name, activation, samples, which, bias):
    _, layers, tensors, m = pair(activation, samples, which, bias=bias)
    curve = CURVES[name](layers, m)
    closed = curve.derivatives(tensors, 3)
    at = explicit(curve)
    auto = taylor(lambda t: at(t, tensors), ZERO, 3)
    for one, other in zip(closed, auto, strict=True):
        assert_close(one, dict(other), **CLOSE)
        assert any(x.abs().max() > 1e-4 for x in other.values())

    def along(t):
        first, second = taylor(lambda s: at(s, tensors), t, 2)
        return {"k": curvature(first, second)}

    assert_close(curvature(*closed[:2]), along(ZERO)["k"], **CLOSE)
    assert_close(curvature_rate(*closed), taylor(along, ZERO, 1)[0]["k"], **CLOSE)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("which", [0, 1])
def test_few_samples_do_not_see_the_curve(name, which):
    model, layers, tensors, m = pair("sinh", 4, which)
    moved = tensors | CURVES[name](layers, m).at(1.0, tensors)
    assert any(not torch.equal(moved[n], tensors[n]) for n in tensors)
    # Rounding times the condition of the activations, at most 1e3.
    assert_close(
        functional_call(model, moved, (layers.inputs,)), model(layers.inputs).detach(), rtol=0.0, atol=1e-11
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("samples", [4, 20])
@pytest.mark.parametrize(
    ("name", "action"),
    [("action 1", One()), ("action 2", Difference()), ("action 2, papers", Two()), ("frame", Frame())],
)
def test_curves_are_the_orbits_of_the_actions(name, action, samples, bias):
    """The element exp(t M) of `isoloss.dependent`, on the matrices of the two layers."""
    _, layers, tensors, m = pair("sinh", samples, bias=bias)
    u, v, x = layers.read(tensors)
    g, z = torch.linalg.matrix_exp(0.7 * m), v @ x
    moved = action.incoming(g, v, z, x, Activation(torch.sinh, torch.cosh, torch.sinh, torch.asinh))
    units, others = z.sinh(), (moved @ x).sinh()
    if u.shape[1] != len(units):
        units, others = (torch.cat([s, torch.ones_like(s[:1])]) for s in (units, others))
    expected = layers.write(action.outgoing(g, u, units, others), moved)
    found = CURVES[name](layers, m).at(0.7, tensors)
    # Action 1 leaves the outgoing bias alone. Roundings times the condition of the activations, at most 1e3.
    assert_close(found, {n: expected[n] for n in found}, rtol=0.0, atol=1e-11)
    assert expected.keys() - found.keys() <= {"2.bias"}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("samples", [2, 4, 20])
def test_the_explicit_frame_is_the_frame_action(samples, bias):
    _, layers, tensors, m = pair("sinh", samples, bias=bias)
    curve = CURVES["frame"](layers, m)
    # Roundings times the condition of the activations, at most 1e3.
    assert_close(explicit(curve)(0.7, tensors), curve.at(0.7, tensors), rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("name", ["action 1", "action 2", "frame"])
@pytest.mark.parametrize("samples", [4, 20])
def test_curves_start_where_the_parameters_are(name, samples):
    _, layers, tensors, m = pair("sinh", samples)
    start = CURVES[name](layers, m).at(0.0, tensors)
    assert_close(start, {n: tensors[n] for n in start}, rtol=0.0, atol=1e-12)


def test_the_papers_form_does_not_where_there_are_fewer_samples_than_units():
    _, layers, tensors, m = pair("sinh", 4)
    start = ForwardCurve(layers, m, "papers").at(0.0, tensors)["2.weight"]
    assert (start - tensors["2.weight"]).norm() > 0.1 * tensors["2.weight"].norm()


def test_with_many_samples_all_forms_agree():
    _, layers, tensors, m = pair("tanh", 20)
    one, *others = (
        ForwardCurve(layers, m, form).derivatives(tensors) for form in ("papers", "difference", "frame")
    )
    for other in others:
        assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_forms_that_are_not_known_are_refused():
    _, layers, _, m = pair()
    with pytest.raises(
        ValueError, match="form must be one of difference, frame, papers; got 'two'; papers is the pub"
    ):
        ForwardCurve(layers, m, "two")


def test_the_expansion_of_the_paper_lacks_its_factorials():
    """Eq. (50) of the 2024 paper read literally doubles the term with the square: not the second derivative."""
    _, layers, tensors, m = pair("sinh", 4)
    u, v, x = layers.read(tensors)
    z = v @ x
    a, ma = z.sinh(), m @ z.sinh()
    slope, bend = 1 / z.cosh(), -z.sinh() / z.cosh() ** 3
    literal = ((m @ m @ a) * slope + 2 * ma.square() * bend) @ torch.linalg.pinv(x)
    ours = ((m @ m @ a) * slope + ma.square() * bend) @ torch.linalg.pinv(x)
    curve = InverseCurve(layers, m)
    auto = taylor(lambda t: curve.at(t, tensors), ZERO, 2)[1]["0.weight"]
    assert_close(ours[:, :-1], auto, **CLOSE)
    assert (literal[:, :-1] - auto).norm() > 0.01 * auto.norm()


def test_a_homogeneous_activation_has_the_curve_of_its_scaling():
    """Along diag(m) action 2 moves a leaky network as its scaling does: V by m, U by -m."""
    _, layers, tensors, _ = pair("leaky", 4, bias=False)
    m = torch.diag(torch.linspace(-1, 1, layers.width, dtype=torch.float64))
    first, second = ForwardCurve(layers, m).derivatives(tensors, 2)
    assert_close(first["0.weight"], m @ tensors["0.weight"])
    x = layers.read(tensors)
    units = layers.activation(x[1] @ x[2])
    # Off the batch the outgoing weights are free; on it they move like those of the scaling.
    assert_close(first["2.weight"] @ units, -tensors["2.weight"] @ m @ units, rtol=1e-10, atol=1e-10)
    assert_close(second["0.weight"], m @ m @ tensors["0.weight"])


def test_the_inputs_of_deeper_pairs_follow_the_parameters():
    model, layers, tensors, _ = pair("tanh", 4, which=1)
    changed = tensors | {"0.weight": 2 * tensors["0.weight"]}
    expected = torch.tanh(layers.inputs @ changed["0.weight"].mT + changed["0.bias"]).mT
    assert_close(layers.read(changed)[2][:-1], expected)
    assert model[0].weight.grad is None and not model[2]._forward_pre_hooks


def test_layers_that_do_not_fit_are_refused():
    model = mlp(5, 6, 3)
    x = torch.randn(4, 5)
    with pytest.raises(
        ValueError,
        match="LayerPair: the layers must be linear or convolutions without groups, the second as wide",
    ):
        LayerPair(model, x, "0", "1", model[1])
    with pytest.raises(ValueError, match="second as wide as the first"):
        LayerPair(model, x, "2", "0", model[1])
    unused = nn.Sequential(nn.Linear(5, 5))
    unused.spare = nn.Linear(5, 5)
    unused.forward = lambda x: unused[0](x)
    layers = LayerPair(unused, x, "spare", "0", nn.Tanh())
    with pytest.raises(ValueError, match="must run spare and 0; got a pass without"):
        layers.read(dict(unused.named_parameters()))


def test_without_an_inverse_there_are_derivatives_only():
    model = mlp(5, 6, 3, activation=lambda: nn.LeakyReLU(SLOPE))
    curve = InverseCurve(LayerPair(model, torch.randn(4, 5), "0", "2", model[1]), torch.eye(6))
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    assert len(curve.derivatives(tensors, 2)) == 2
    with pytest.raises(ValueError, match="must have an inverse; got none; give LayerPair"):
        curve.at(0.1, tensors)
