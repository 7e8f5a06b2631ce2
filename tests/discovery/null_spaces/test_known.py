"""Known symmetries as matrices: those that theory writes down, and what is left of others beside them."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

import isoloss
from discovery.null_spaces.cases import CASES
from isoloss.discovery import Space, linear_generators, normal, principal_angles
from isoloss.discovery.null_spaces import known_generators
from isoloss.discovery.null_spaces._known import across_known
from zoo import ZOO


def space_of(model: nn.Module) -> Space:
    return Space.of({n: p.detach()[None] for n, p in model.named_parameters()}, "here")


MODELS = {
    "relu": lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)),
    "linear with biases": lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_velocities_are_those_of_the_symmetry(name):
    """The literal twin: Symmetry.generator, one element after the other, at a point of its own."""
    model = MODELS[name]().double()
    found = isoloss.find(model, torch.randn(4, 2).double())
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    theta = torch.cat([*(t.flatten() for t in tensors.values()), torch.ones(1, dtype=torch.float64)])
    rows = []
    for s in found:
        for a in s.group.basis(dtype=torch.float64):
            v = s.generator(a.expand(*s.batch, *a.shape), tensors) if s.dim else {}
            rows.append(torch.cat([v.get(n, torch.zeros_like(t)).flatten() for n, t in tensors.items()]))
    expected = torch.stack(
        [r for s, r in zip([s for s in found for _ in range(s.group.dim)], rows, strict=True) if s.dim]
    )
    assert_close(known_generators(found, space_of(model)) @ theta, expected, rtol=1e-12, atol=1e-12)


def outputs_of(model: nn.Module):
    return lambda w, x: functional_call(model, w, (x[None],))[0]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_left_beside_what_find_reports(name):
    model = MODELS[name]()
    shapes = {n: p.shape for n, p in model.named_parameters()}
    found = linear_generators(outputs_of(model), normal(**shapes), lambda n: torch.randn(n, 2), "affine")
    left = found.beyond(isoloss.find(model, torch.randn(4, 2)))
    assert len(found) > 0 and len(left) == 0 and left.error == 0.0


def test_what_is_left_out_is_what_is_left():
    """With one of three scalings known two are left, orthogonal to it and together with it the same span."""
    model = MODELS["relu"]()
    shapes = {n: p.shape for n, p in model.named_parameters()}
    found = linear_generators(outputs_of(model), normal(**shapes), lambda n: torch.randn(n, 2), "affine")
    known = known_generators(isoloss.find(model, torch.randn(4, 2)), found.parameters)
    assert len(known) == 3
    left = across_known(found.generators, known[:1])
    assert len(left) == 2
    assert (left.flatten(1) @ known[0].flatten()).abs().max() < 1e-10
    whole = torch.cat([left, known[:1]]).flatten(1)
    assert float(principal_angles(whole, found.generators.flatten(1)).max()) < 1e-8
    assert len(found.beyond([])) == 3


def test_translations_are_not_linear():
    """Of 6 affine generators 4 are linear, GL(2); what is beyond the features explains nothing among them."""
    model = MODELS["linear with biases"]()
    shapes = {n: p.shape for n, p in model.named_parameters()}
    found = linear_generators(outputs_of(model), normal(**shapes), lambda n: torch.randn(n, 2))
    symmetries = isoloss.find(model, torch.randn(4, 2))
    assert (len(found), len(known_generators(symmetries, found.parameters))) == (4, 6)
    assert len(found.beyond(symmetries)) == 0


def test_discrete_and_approximate_ones_explain_nothing():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    symmetries = isoloss.find(model, torch.randn(4, 2))
    assert len(symmetries) and known_generators(symmetries, space_of(model)).shape == (0, 17, 18)


def test_mistakes_are_told():
    model = MODELS["relu"]()
    symmetries = isoloss.find(model, torch.randn(4, 2))
    case = CASES["relu 2-3-2"]
    found = linear_generators(case.loss, case.params, case.data)
    with pytest.raises(
        ValueError, match="must move the parameters that are sampled; got .*, which needs 0.weight, beside"
    ):
        found.beyond(symmetries)
    with pytest.raises(ValueError, match="features='linear' or 'affine'; got 'gradient'"):
        linear_generators(case.loss, case.params, case.data, "gradient").beyond(symmetries)


def test_what_is_not_affine_is_told():
    """Rotations folded through the weight of a norm divide by it."""
    model, inputs = ZOO["rmsnorm_without_eps"].build()
    symmetries = isoloss.find(model, inputs)
    bent = [s for s in symmetries if s.dim and s.exact and not s.linear]
    assert bent
    with pytest.raises(ValueError, match="must be affine in the parameters; got"):
        known_generators(bent, space_of(model))
