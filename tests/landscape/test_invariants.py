"""Measures that orbits do not change, under every family of which that is claimed, and what changes under others."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import isoloss
from isoloss.groups import (
    ComplexScaling,
    GeneralLinear,
    Orthogonal,
    Permutation,
    PositiveScaling,
    SignFlip,
    Translation,
)
from isoloss.landscape import (
    Curvature,
    Hessian,
    Sharpness,
    adaptive_sharpness,
    adaptive_trace,
    curvature,
    inertia,
    least_trace,
    newton_decrement,
    point,
    spectrum,
)
from isoloss.symmetry import named_tensors
from landscape.minima import anywhere, linear_minimum, realizable
from networks import linear_symmetries, mlp, mlp_symmetries
from zoo import ZOO

FEW = Sharpness(displacements=(0.05, 0.2), directions=4, excess=True)


def trace(model, loss, at=None):
    return Hessian(model, loss, at=at).dense().trace()


def leaky():
    return nn.LeakyReLU(0.3)


def moved(model, symmetries, scale=0.3, seed=0):
    """All parameters and buffers, elsewhere on the orbit."""
    tensors = {n: t.detach() for n, t in named_tensors(model).items()}
    return tensors | symmetries.act(symmetries.sample(scale, torch.Generator().manual_seed(seed)), tensors)


def same(found, expected, digits=9):
    """Moving by g costs eps cond(g)^2 of second derivatives, a few thousand eps here; sums of them some more."""
    return float(found) == pytest.approx(float(expected), rel=10.0**-digits)


# ---------------------------------------------------------------- adaptive: positive scalings


@pytest.mark.parametrize("make", [realizable, anywhere])
def test_adaptive_measures_do_not_see_scalings(make):
    model, x, loss = make(mlp(4, 6, 5, 2, activation=leaky))
    there = moved(model, mlp_symmetries(model), scale=0.7)
    for f in (
        lambda at: adaptive_sharpness(model, loss, sharpness=FEW, at=at),
        lambda at: adaptive_trace(model, loss, at=at),
    ):
        assert same(f(there), f(None))
    # The control: the ordinary ones do.
    for f in (lambda at: FEW.evaluate(point(model, loss, at), {}), lambda at: trace(model, loss, at)):
        assert not same(f(there), f(None), digits=2)


def test_adaptive_trace_does_not_see_signs_and_permutations():
    model, x, loss = anywhere(mlp(4, 6, 5, 2, activation=nn.Tanh))
    found = isoloss.find(model, x)
    assert {type(s.group) for s in found} == {Permutation, SignFlip}
    there = moved(model, found)
    assert same(adaptive_trace(model, loss, at=there), adaptive_trace(model, loss))


def test_adaptive_trace_does_not_see_scalings_into_a_norm():
    """Scale invariance: nothing compensates it, which leaves no smallest point on the orbit."""
    model = nn.Sequential(
        nn.Linear(3, 5, bias=False), nn.LayerNorm(5, eps=0.0), nn.Tanh(), nn.Linear(5, 2)
    ).double()
    x, y = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    loss = lambda: (model(x) - y).square().mean()  # noqa: E731
    found = isoloss.find(model, x).only(PositiveScaling)
    there = moved(model, found, scale=0.7)
    assert same(adaptive_trace(model, loss, at=there), adaptive_trace(model, loss), digits=8)
    sharp = [adaptive_sharpness(model, loss, sharpness=FEW, at=at) for at in (there, None)]
    assert same(*sharp)
    assert not same(trace(model, loss, there), trace(model, loss), digits=2)


def test_adaptive_measures_see_matrices():
    model, x, loss = anywhere(mlp(4, 6, 2, activation=nn.Identity))
    there = moved(model, linear_symmetries(model))
    assert not same(adaptive_trace(model, loss, at=there), adaptive_trace(model, loss), digits=2)


def test_adaptive_sharpness_is_its_formula_and_its_second_order():
    model, x, loss = realizable(mlp(3, 4, 2, activation=nn.Tanh))
    here = point(model, loss)
    sharp = Sharpness(displacements=(0.3,), directions=3, seed=5, excess=True)
    total, generator = 0.0, torch.Generator().manual_seed(5)
    for _ in range(3):
        d = {
            n: torch.randn(t.shape, generator=generator, dtype=torch.float32).double()
            for n, t in here.parameters.items()
        }
        length = sum(float(v.square().sum()) for v in d.values()) ** 0.5
        total += here.loss({n: t + 0.3 * t.abs() * d[n] / length for n, t in here.parameters.items()})
    # Directions have length one to float32.
    assert_close(adaptive_sharpness(model, loss, sharpness=sharp), total / 3 - loss(), rtol=1e-6, atol=0)
    whole = Sharpness(displacements=(0.3,), directions=3, seed=5)
    assert_close(
        adaptive_sharpness(model, loss, sharpness=whole), adaptive_sharpness(model, loss, sharpness=sharp)
    )
    # E (d^T A d) = tr A / P on the sphere; 4000 directions leave some per cent.
    small = Sharpness(displacements=(1e-3,), directions=4000, excess=True, chunk=100)
    size = sum(t.numel() for t in here.parameters.values())
    expected = 0.5e-6 * adaptive_trace(model, loss) / size
    assert_close(adaptive_sharpness(model, loss, sharpness=small), expected, rtol=0.1, atol=0)


# ---------------------------------------------------------------- congruence: linear actions anywhere

LINEAR = {
    "scalings": lambda: anywhere(mlp(4, 6, 5, 2, activation=leaky)),
    "matrices": lambda: anywhere(mlp(3, 5, 4, 2, activation=nn.Identity, bias=False)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_signs_of_eigenvalues_and_the_newton_decrement(name):
    model, x, loss = LINEAR[name]()
    symmetries = isoloss.find(model, x)
    assert all(s.linear for s in symmetries)
    there = moved(model, symmetries)
    assert inertia(model, loss, at=there) == inertia(model, loss)
    assert inertia(model, loss).negative > 0  # no minimum
    assert same(newton_decrement(model, loss, at=there), newton_decrement(model, loss), digits=7)
    # The control: the gradient's length, and the eigenvalues.
    here, elsewhere = Hessian(model, loss), Hessian(model, loss, at=there)
    assert not same(here.gradient.norm(), elsewhere.gradient.norm(), digits=2)
    assert not torch.allclose(
        spectrum(model, loss).eigenvalues, spectrum(model, loss, at=there).eigenvalues, rtol=1e-2
    )


@pytest.mark.parametrize(
    "name", ["rope_half", "attention_softmax", "radial_activation", "batchnorm_eval_gelu"]
)
def test_signs_of_eigenvalues_at_a_critical_point_under_all_that_is_found(name):
    """Complex scalings, matrices per head, rotations, translations: targets are the model's own outputs."""
    model, inputs = ZOO[name].build()
    model = model.double()
    inputs = torch.utils._pytree.tree_map(lambda x: x.double() if x.is_floating_point() else x, inputs)
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    y = model(*args).detach()
    loss = lambda: (model(*args) - y).square().sum()  # noqa: E731
    found = isoloss.find(model, inputs).where(lambda s: s.exact)
    there = moved(model, found, scale=0.1)
    assert inertia(model, loss, at=there, tolerance=1e-9) == inertia(model, loss, tolerance=1e-9)


class Normed(nn.Module):
    """A scaling into a norm without eps: one for all of the weights before it."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 5, bias=False), nn.Linear(5, 2)
        self.norm = nn.LayerNorm(5, eps=0.0, elementwise_affine=False)

    def forward(self, x):
        return self.two(self.norm(self.one(x)).tanh())


def zoo(name):
    model, x = ZOO[name].build()
    return model.double(), x.double()


# A network, and the groups that act on it.
FAMILIES = {
    "complex scalings": (lambda: zoo("rope_half"), (ComplexScaling,)),
    "matrices per head": (lambda: zoo("attention_softmax"), (GeneralLinear,)),
    "rotations": (lambda: zoo("radial_activation"), (Orthogonal,)),
    "scalings into a norm": (lambda: (Normed().double(), torch.randn(20, 3).double()), (PositiveScaling,)),
    "signs, permutations": (
        lambda: (mlp(3, 5, 2, activation=nn.Tanh).double(), torch.randn(20, 3).double()),
        (SignFlip, Permutation),
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_families_off_a_minimum(family):
    make, groups = FAMILIES[family]
    model, x = make()
    y = torch.randn(model(x).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss = lambda: (model(x) - y).square().sum()  # noqa: E731
    chosen = isoloss.find(model, x).only(*groups)
    assert {type(s.group) for s in chosen} == set(groups)
    there = moved(model, chosen, scale=0.2)
    # Between rounding, P eps of the largest eigenvalue or 1e-11, and 1e-6 there is none: so is the cut.
    decrements = [newton_decrement(model, loss, at=at, tolerance=1e-9) for at in (there, None)]
    # The smallest eigenvalues, a 1e-8 of the largest, have as many digits fewer.
    assert same(*decrements, digits=6)
    assert inertia(model, loss, at=there, tolerance=1e-9) == inertia(model, loss, tolerance=1e-9)
    isometries = {Orthogonal, SignFlip, Permutation}
    assert same(trace(model, loss, there), trace(model, loss), digits=6) == isometries.issuperset(groups)
    diagonal = {PositiveScaling, SignFlip, Permutation}
    assert same(
        adaptive_trace(model, loss, at=there), adaptive_trace(model, loss), digits=6
    ) == diagonal.issuperset(groups)


def test_newton_decrement_of_a_quadratic_is_twice_what_is_left():
    a = torch.tensor([[2.0, 1.0], [1.0, 4.0]]).double()
    model = nn.ParameterDict({"w": nn.Parameter(torch.tensor([1.0, -3.0]).double())})
    loss = lambda: model["w"] @ a @ model["w"] / 2  # noqa: E731
    assert_close(newton_decrement(model, loss), 2 * loss().detach())


def test_newton_decrement_is_refused_where_there_is_no_step():
    model = nn.ParameterDict({"w": nn.Parameter(torch.tensor([1.0, 1.0]).double())})
    with pytest.raises(
        ValueError, match=r"gradient must lie in the range of the Hessian; got a part of length 1.0e\+00"
    ):
        newton_decrement(model, lambda: model["w"][0].square() + model["w"][1])


# ---------------------------------------------------------------- least trace: the infimum over the orbit


def test_for_two_linear_layers_it_is_the_nuclear_norm():
    """tr H = 2 (n |U|^2 + m |V|^2) for |Y - U V|^2; its infimum 4 sqrt(n m) |U V|_* is a limit: the ranks differ."""
    model, x, loss = linear_minimum(4, 9, 3)
    symmetries = linear_symmetries(model)
    u, v = model[2].weight.detach(), model[0].weight.detach()
    found = least_trace(model, loss, symmetries)
    assert found.here == pytest.approx(float(2 * (4 * u.square().sum() + 3 * v.square().sum())), rel=1e-12)
    expected = 4 * math.sqrt(12) * torch.linalg.matrix_norm(u @ v, "nuc")
    assert found.value == pytest.approx(float(expected), rel=2e-10 * found.here / float(expected))


def test_for_two_layers_with_a_homogeneous_activation_it_is_a_sum_over_units():
    """alpha_i s^2 + beta_i / s^2 for each unit: 2 sqrt(alpha_i beta_i), and the outgoing bias stays."""
    model, x, loss = realizable(mlp(3, 5, 2, activation=leaky))
    found = least_trace(model, loss, mlp_symmetries(model))
    h = Hessian(model, loss)
    parts = h.diagonal().split([t.numel() for t in h.tensors.values()])
    alpha = parts[2].view(2, 5).sum(0)
    beta = parts[0].view(5, 3).sum(1) + parts[1]
    expected = 2 * (alpha * beta).sqrt().sum() + parts[3].sum()
    assert found.value == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("kind", ["scalings", "matrices", "deep matrices"])
def test_the_least_trace_belongs_to_the_orbit(kind):
    if kind == "scalings":
        model, x, loss = realizable(mlp(4, 6, 5, 2, activation=leaky))
        symmetries = mlp_symmetries(model)
    else:
        widths = (4, 6, 3) if kind == "matrices" else (4, 5, 5, 3)
        model, x, loss = realizable(mlp(*widths, activation=nn.Identity, bias=False))
        symmetries = linear_symmetries(model)
    here = least_trace(model, loss, symmetries)
    there = least_trace(model, loss, symmetries, at=moved(model, symmetries, scale=0.4))
    # Each to nine digits of where it started.
    assert abs(here.value - there.value) <= 1e-9 * (here.here + there.here)
    assert not same(here.here, there.here, digits=2)
    # It is a value of the trace: that of the elements given.
    tensors = {n: t.detach() for n, t in named_tensors(model).items()}
    assert float(trace(model, loss, tensors | symmetries.act(list(here.elements), tensors))) == pytest.approx(
        here.value, rel=1e-6
    )
    # And none that is drawn lies below.
    for seed in range(5):
        assert trace(model, loss, moved(model, symmetries, seed=seed)) > here.value


def test_the_least_trace_under_complex_scalings():
    model, inputs = ZOO["rope_half"].build()
    model, x = model.double(), inputs.double()
    y = model(x).detach()
    loss = lambda: (model(x) - y).square().sum()  # noqa: E731
    found = isoloss.find(model, x).where(lambda s: s.exact)
    assert any(isinstance(s.group, ComplexScaling) for s in found)
    chosen = found.only(ComplexScaling, PositiveScaling, GeneralLinear, Permutation, SignFlip)
    here = least_trace(model, loss, chosen)
    there = least_trace(model, loss, chosen, at=moved(model, chosen, scale=0.3))
    assert abs(here.value - there.value) <= 1e-9 * (here.here + there.here)


def test_rotations_and_permutations_change_no_trace():
    model, inputs = ZOO["radial_activation"].build()
    model, x = model.double(), inputs.double()
    found = isoloss.find(model, x).only(Orthogonal, Permutation)
    assert any(isinstance(s.group, Orthogonal) for s in found)
    y = model(x).detach()
    loss = lambda: (model(x) - y).square().sum()  # noqa: E731
    there = moved(model, found, scale=1.0)
    assert same(trace(model, loss, there), trace(model, loss))
    assert_close(
        spectrum(model, loss, at=there).eigenvalues, spectrum(model, loss).eigenvalues, rtol=1e-9, atol=1e-9
    )


def test_translations_through_a_weight_change_it():
    """The limit of the claim: the bias of the next layer moves by W t, so that second derivatives by W mix."""
    model, x, loss = realizable(mlp(3, 4, 2, activation=nn.Identity))
    found = isoloss.find(model, x)
    matrices, shifts = found.only(GeneralLinear), found.only(Translation)
    here = least_trace(model, loss, matrices)
    there = least_trace(model, loss, matrices, at=moved(model, shifts, scale=1.0))
    assert not same(here.value, there.value, digits=2)


def test_what_can_be_scaled_away_does_not_count():
    """Weights into a norm without eps: the infimum is what the other layers have."""
    model = nn.Sequential(
        nn.Linear(3, 5, bias=False),
        nn.LayerNorm(5, eps=0.0, elementwise_affine=False),
        nn.Tanh(),
        nn.Linear(5, 2),
    )
    model = model.double()
    x = torch.randn(30, 3).double()
    y = model(x).detach()
    loss = lambda: (model(x) - y).square().mean()  # noqa: E731
    found = isoloss.find(model, x).only(PositiveScaling)
    h = Hessian(model, loss)
    rest = float(h.diagonal()[15:].sum())
    assert least_trace(model, loss, found).value == pytest.approx(rest, rel=1e-6)


def test_messages():
    model, x, loss = anywhere(mlp(3, 4, 2, activation=leaky))
    with pytest.raises(ValueError, match=r"least_trace: the point must be a minimum; got an eigenvalue of -"):
        least_trace(model, loss, mlp_symmetries(model))
    with pytest.raises(
        ValueError, match=r"must be an exact scaling or matrix symmetry of the parameters; got none"
    ):
        least_trace(model, loss, [])
    with pytest.raises(
        ValueError, match=r"landscape.point: there must be parameters that require gradients; got none"
    ):
        point(nn.ReLU(), loss)
    with pytest.raises(ValueError, match=r"landscape.point: loss must return a tensor with one number"):
        adaptive_sharpness(model, lambda: model(x), sharpness=FEW)


# ---------------------------------------------------------------- shared with teleportation


def test_functions_are_those_of_teleportation():
    from isoloss import teleport

    assert Sharpness is teleport.Sharpness and Curvature is teleport.Curvature
    assert curvature is teleport.curves.curvature


def test_they_are_evaluated_at_a_point():
    model, x, loss = anywhere(mlp(4, 6, 2, activation=leaky))
    symmetries = mlp_symmetries(model)
    bend = Curvature.of(symmetries, generator=torch.Generator().manual_seed(0))
    there = moved(model, symmetries)
    here, elsewhere = bend.evaluate(point(model, loss), {}), bend.evaluate(point(model, loss, there), {})
    assert here > 0 and not same(here, elsewhere, digits=2)
    assert_close(point(model, loss, there).loss({}), loss().detach(), rtol=1e-12, atol=0)
