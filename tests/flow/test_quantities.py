"""What gradient flow conserves, on every family of networks, against the formulas written layer by layer."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import isoloss
from flow.running import NETS, flowed, found
from isoloss import flow
from isoloss.groups import Affine, GeneralLinear, Orthogonal, Permutation, PositiveScaling, Translation
from isoloss.symmetry import Block, Frame, Shift, Slot, Symmetries, Symmetry
from networks import (
    Attention,
    ConvNet,
    Rotary,
    attention_symmetries,
    conv_symmetries,
    linear_symmetries,
    mlp,
    mlp_symmetries,
    rotary_symmetries,
)

RTOL = 1e-9


def steps(trajectory) -> float:
    """Steps of the integrator: DOP853 takes 12 gradients for each."""
    return trajectory.evaluations / 12


# ---------------------------------------------------------------- conservation


@pytest.mark.parametrize("name", NETS)
def test_quantities_are_conserved_to_the_tolerance_of_the_integrator(name):
    """A step may err by rtol |theta|, hence each sum of squares by 2 rtol of itself, and steps add up."""
    _, symmetries, trajectory = flowed(name, rtol=RTOL)
    quantities = flow.conserved_quantities(symmetries)
    moved = sum((x[-1] - x[0]).norm() for x in trajectory.tensors.values())
    assert moved > 0.1  # or nothing would be tested
    for drift in quantities.drift(trajectory).values():
        assert drift[0] == 0.0 and drift.max() < 2 * RTOL * steps(trajectory)


def test_the_drift_is_proportional_to_the_tolerance():
    """A thousandth of it; what is left of the proportion is the discreteness of steps."""
    drifts = []
    for rtol in (1e-5, 1e-8):
        _, symmetries, trajectory = flowed("attention", rtol=rtol)
        drifts.append(max(d.max() for d in flow.conserved_quantities(symmetries).drift(trajectory).values()))
    assert 1000**0.7 < drifts[0] / drifts[1] < 1000**1.3


def test_a_wrong_sign_drifts():
    model, symmetries, trajectory = flowed("ReLU")
    wrong = Symmetries(
        [
            replace(s, slots=tuple(replace(t, charge=abs(t.charge)) for t in s.slots))
            for s in symmetries
            if s.dim
        ],
        model,
    )
    for drift in flow.conserved_quantities(wrong).drift(trajectory).values():
        assert drift[-1] > 1e-3


def test_a_wrong_degree_of_homogeneity_drifts():
    """The charges of a squared ReLU are 1 and -2; those of ReLU do not fit it."""

    class Squared(nn.Module):
        def forward(self, x):
            return x.relu().square()

    model = mlp(4, 5, 2, activation=Squared).double()
    x, y = torch.randn(6, 4).double(), torch.randn(6, 2).double()
    trajectory = flow.gradient_flow(lambda m: (m(x) - y).square().mean(), model, 0.3, rtol=RTOL)
    right = flow.conserved_quantities(mlp_symmetries(model, Fraction(2))).drift(trajectory)
    wrong = flow.conserved_quantities(mlp_symmetries(model)).drift(trajectory)
    assert max(d.max() for d in right.values()) < 2 * RTOL * steps(trajectory)
    assert min(d[-1] for d in wrong.values()) > 1e-3


def test_what_would_be_conserved_with_relu_drifts_with_gelu():
    model = mlp(4, 5, 2, activation=nn.GELU).double()
    x, y = torch.randn(3, 4).double(), torch.randn(3, 2).double()
    with pytest.raises(ValueError, match="symmetric generator"):
        flow.conserved_quantities(isoloss.find(model, x))
    trajectory = flow.gradient_flow(lambda m: (m(x) - y).square().sum(), model, 0.3)
    drift = flow.conserved_quantities(mlp_symmetries(model)).drift(trajectory)
    assert min(d[-1] for d in drift.values()) > 1e-3


def test_weight_decay_makes_quantities_decay():
    """dQ/dt = -2 lambda Q, by the homogeneity of Q; translations decay half as fast."""
    model, symmetries, loss = found("attention")
    decayed = lambda m: loss(m) + 0.5 * sum(p.square().sum() for p in m.parameters())  # noqa: E731
    trajectory = flow.gradient_flow(decayed, model, [0.0, 0.4], rtol=RTOL)
    for name, values in flow.conserved_quantities(symmetries).along(trajectory).items():
        speed = 1.0 if name.startswith("R^") else 2.0
        assert_close(values[1], values[0] * torch.tensor(-0.4 * speed).double().exp(), rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------- formulas


def test_linear_layers_have_the_matrix_of_the_imbalance():
    """Dissertation, section A.2.9."""
    model = mlp(4, 3, 5, 2, activation=nn.Identity).double()
    values = flow.conserved_quantities(isoloss.find(model, torch.randn(2, 4))).evaluate(model)
    one, two, three = model[0], model[2], model[4]
    expected = {
        "GL(3) between 0.weight and 2.weight": one.weight @ one.weight.mT
        + one.bias[:, None] * one.bias
        - two.weight.mT @ two.weight,
        "GL(5) between 2.weight and 4.weight": two.weight @ two.weight.mT
        + two.bias[:, None] * two.bias
        - three.weight.mT @ three.weight,
    }
    assert_close(values, {n: e.detach() for n, e in expected.items()})


@pytest.mark.parametrize("power", [Fraction(1), Fraction(2), Fraction(1, 3)], ids=str)
def test_neurons_have_the_difference_of_squares_with_the_degree(power):
    """Dissertation, Example 2.5.4: diag(V V^T - alpha U^T U)."""
    model = mlp(4, 5, 3).double()
    (value,) = flow.conserved_quantities(mlp_symmetries(model, power)).evaluate(model).values()
    expected = model[0].weight.square().sum(1) + model[0].bias.square()
    expected = expected - float(power) * model[2].weight.square().sum(0)
    assert_close(value, expected.detach())


def test_every_head_of_attention_has_its_own():
    model = Attention().double()
    values = list(flow.conserved_quantities(attention_symmetries(model)).evaluate(model).values())
    q, k, v = model.inputs.weight.unflatten(0, (3, 3, 4)).detach()
    out = model.outputs.weight.unflatten(1, (3, 4)).detach()
    assert_close(values[0], q @ q.mT - k @ k.mT)
    assert_close(values[1], v @ v.mT - torch.einsum("ohi,ohj->hij", out, out))


def test_rotary_heads_have_one_per_frequency():
    model = Rotary().double()
    (quantity,) = flow.conserved_quantities(rotary_symmetries(model)).values()
    q, k = (m.weight.detach().unflatten(0, (2, 4)).square().sum((0, 2)) for m in (model.q, model.k))
    value = quantity.value(dict(model.named_parameters()))
    assert quantity.count == 4 and quantity.shape == (4, 2)
    assert_close(value, torch.stack([q - k, torch.zeros(4).double()], -1))
    x = torch.randn(2, 3, 6).double()
    trajectory = flow.gradient_flow(lambda m: m(x).square().sum(), model, 0.2, rtol=RTOL)
    (drift,) = flow.conserved_quantities(rotary_symmetries(model)).drift(trajectory).values()
    assert drift.max() < 2 * RTOL * steps(trajectory)


def test_a_shift_into_softmax_keeps_the_sum():
    """<v, theta>: the biases of a classifier's logits add up to a constant."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1)).double()
    x, y = torch.randn(5, 3).double(), torch.rand(5, 4).double()
    quantities = flow.conserved_quantities(isoloss.find(model, x))
    trajectory = flow.gradient_flow(lambda m: (m(x) - y).square().sum(), model, 0.5)
    along = quantities.along(trajectory)
    columns = trajectory.tensors["0.weight"].sum(1)
    assert any(v.shape == columns.shape and torch.allclose(v, columns) for v in along.values())
    assert max(d.max() for d in quantities.drift(trajectory).values()) < 1e-14


def test_an_affine_group_has_both():
    """<theta, M theta> in the square, <v, theta> in the last column."""
    slot = Slot("w", Block.whole((3, 4)), (0,))
    quantity = flow.Quantity("both", Symmetry(Affine(3), (slot,)))
    w = torch.randn(3, 4).double()
    assert_close(quantity.value({"w": w}), torch.cat([w @ w.mT, w.sum(1, keepdim=True)], 1))
    assert_close(quantity.quadratic({"w": w}), torch.cat([w @ w.mT, torch.zeros(3, 1).double()], 1))
    assert quantity.count == 9


HAND_MADE = {
    "mlp": lambda: (m := mlp(4, 5, 6, 3).double(), mlp_symmetries(m)),
    "linear": lambda: (m := mlp(4, 5, 6, 3).double(), linear_symmetries(m)),
    "conv": lambda: (m := ConvNet().double(), conv_symmetries(m)),
    "attention": lambda: (m := Attention().double(), attention_symmetries(m)),
    "rotary": lambda: (m := Rotary().double(), rotary_symmetries(m)),
} | {name: lambda name=name: found(name)[:2] for name in NETS}


@pytest.mark.parametrize("name", HAND_MADE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_fast_sums_equal_the_moments(name, dtype):
    """Sums of at most a hundred squares: rounding of the sum of their absolute values, the size."""
    model, symmetries = HAND_MADE[name]()
    model = model.to(dtype)
    quantities = flow.conserved_quantities(symmetries)
    tensors = dict(model.named_parameters())
    eps = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    for name, (value, size) in quantities.measured(tensors).items():
        slow = quantities[name].value(tensors)
        assert value.shape == quantities[name].shape and size > 0
        assert (value.double() - slow.double()).norm() <= 100 * eps * size
        assert slow.double().norm() <= size * (1 + 100 * eps)


# ---------------------------------------------------------------- learning rates


def test_learning_rates_enter_the_quantity():
    """With rates the sum of squares over the rate is conserved, and without them it is not."""
    model, symmetries, loss = found("LeakyReLU")
    rates = {"0.weight": 3.0, "0.bias": 0.5}
    trajectory = flow.gradient_flow(loss, model, 0.1, rates=rates, rtol=RTOL)
    right = flow.conserved_quantities(symmetries, rates=rates)
    assert max(d.max() for d in right.drift(trajectory).values()) < 2 * RTOL * steps(trajectory)
    wrong = flow.conserved_quantities(symmetries).drift(trajectory)
    assert min(d[-1] for d in wrong.values()) > 1e-4
    tensors = dict(model.named_parameters())
    (quantity,) = right.values()
    assert_close(right.evaluate(tensors)[quantity.name], quantity.value(tensors))


def test_a_learning_rate_that_mixes_entries_conserves_nothing():
    """Below Eq. (2.11): "all results generalize to symmetric epsilon". Not to one that does not commute with M.

    L = (u v - 1)^2 is invariant under (u / s, s v), M = diag(-1, 1). With epsilon = [[1, r], [r, 1]] neither
    <theta, M theta> nor <epsilon^-1 theta, M theta> is constant.
    """
    epsilon = torch.tensor([[1.0, 0.6], [0.6, 1.0]]).double()
    m = torch.diag(torch.tensor([-1.0, 1.0])).double()
    root = torch.linalg.cholesky(epsilon)
    # The flow of L(root z) in z is the flow with epsilon in theta = root z.
    trajectory = flow.gradient_flow(
        lambda p: ((root @ p["z"]).prod() - 1.0) ** 2, {"z": torch.tensor([1.5, -0.3]).double()}, 0.5
    )
    theta = trajectory.tensors["z"] @ root.mT
    plain = torch.einsum("ti,ij,tj->t", theta, m, theta)
    weighted = torch.einsum("ti,ij,tj->t", torch.linalg.solve(epsilon, theta.mT).mT, m, theta)
    # a hundred thousand times the tolerance of the integrator
    assert (plain[-1] - plain[0]).abs() > 1e-3 and (weighted[-1] - weighted[0]).abs() > 1e-3


# ---------------------------------------------------------------- what has none


def test_rotations_discrete_groups_and_bent_actions_have_none():
    slot = Slot("w", Block.whole((3, 2)), (0,))
    bent = replace(slot, frames=(Frame("n", Block.whole((3,)), (0,)),))
    symmetries = [
        Symmetry(Orthogonal(3), (slot,)),
        Symmetry(Permutation(3), (slot,)),
        Symmetry(GeneralLinear(3), (bent,)),
        Symmetry(PositiveScaling(3), (slot,)),
    ]
    quantities = flow.conserved_quantities(Symmetries(symmetries))
    assert list(quantities) == ["R+^3 on w"]
    assert "antisymmetric; see angular_momentum" in quantities.notes[0] and "O(3)" in quantities.notes[0]
    assert "not linear" in quantities.notes[1] and len(quantities.notes) == 2
    with pytest.raises(
        ValueError, match=r"got O\(3\), S_3.* \(O\(3\) on w: its generators are antisymmetric"
    ):
        flow.conserved_quantities(Symmetries(symmetries[:2]))
    with pytest.raises(ValueError, match="got no symmetry at all"):
        flow.conserved_quantities(Symmetries([]))


def test_frozen_parameters_take_their_symmetries_out():
    model = mlp(4, 5, 5, 3)
    model[0].weight.requires_grad_(False)
    quantities = flow.conserved_quantities(mlp_symmetries(model))
    assert list(quantities) == ["R+^5 between 2.weight and 4.weight"]
    assert "0.weight is frozen" in quantities.notes[0]


def test_running_statistics_count_for_nothing_in_training_and_take_the_symmetry_out_otherwise():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, eps=1e-14), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    quantities = flow.conserved_quantities(isoloss.find(model, x.float()))
    assert "R+^4 on 0.weight" in quantities and not any("running" in n for n in quantities.parameters)
    trajectory = flow.gradient_flow(lambda m: (m(x) - y).square().mean(), model, 0.05, rtol=RTOL)
    assert max(d.max() for d in quantities.drift(trajectory).values()) < 2 * RTOL * steps(trajectory)
    still = flow.conserved_quantities(isoloss.find(model.eval(), x.float()))
    assert any("running_mean is a buffer" in note for note in still.notes)
    trajectory = flow.gradient_flow(lambda m: (m(x) - y).square().mean(), model, 0.05, rtol=RTOL)
    assert max(d.max() for d in still.drift(trajectory).values()) < 2 * RTOL * steps(trajectory)


def test_a_tied_weight_counts_once_per_side():
    """g W g^-1 between a weight and itself: W W^T - W^T W."""
    whole = Block.whole((3, 3))
    slots = (Slot("w", whole, (0,)), Slot("w", whole, (1,), Fraction(-1)))
    quantities = flow.conserved_quantities(Symmetries([Symmetry(GeneralLinear(3), slots)]))
    w = torch.randn(3, 3).double()
    (value,) = quantities.evaluate({"w": w}).values()
    assert_close(value, w @ w.mT - w.mT @ w)
    x, y = torch.randn(3, 3).double(), torch.randn(3, 3).double()
    powers = lambda p: sum(torch.linalg.matrix_power(p["w"], k).trace() ** 2 for k in (1, 2, 3)) / 10  # noqa: E731
    trajectory = flow.gradient_flow(powers, {"w": w}, 0.3, rtol=RTOL)
    (drift,) = quantities.drift(trajectory).values()
    assert drift.max() < 2 * RTOL * steps(trajectory)
    bent = flow.gradient_flow(lambda p: (p["w"] @ x - y).square().sum(), {"w": w}, 0.3)
    assert next(iter(quantities.drift(bent).values()))[-1] > 1e-3


# ---------------------------------------------------------------- names and messages


def test_names_tell_quantities_apart_and_print_as_a_table():
    shift = Shift("b", Block.whole((2,)), "i->i")
    twice = flow.conserved_quantities(Symmetries([Symmetry(Translation(2), (shift,))] * 2))
    assert list(twice) == ["R^2 on b [1]", "R^2 on b [2]"]
    model = mlp(4, 5, 3)
    quantities = flow.conserved_quantities(mlp_symmetries(model))
    assert str(quantities).splitlines()[1].split() == "R+^5 between 0.weight and 2.weight (5,) 5".split()
    assert repr(quantities) == "ConservedQuantities(1 quantities, 5 numbers)"
    with pytest.raises(ValueError, match="none named 0.weight"):
        quantities.evaluate({"a": torch.ones(1)})


def test_a_model_of_other_shapes_is_refused():
    """A wider layer has the entries that the blocks name, so that nothing would break."""
    model = mlp(4, 5, 3)
    quantities = flow.conserved_quantities(mlp_symmetries(model))
    with pytest.raises(ValueError, match=r"0.weight must have the shape \(5, 4\); got \(7, 4\)"):
        quantities.evaluate(mlp(4, 7, 3))
