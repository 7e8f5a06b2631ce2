"""Orbit dimensions against a literal rank, the certificate, and numbers that theory gives."""

import pytest
import torch
from torch import nn

import isoloss
from finding.spans import rank, tangents
from isoloss import landscape
from isoloss.groups import GeneralLinear, Orthogonal, PositiveScaling
from isoloss.landscape import _orbit_dimension, _rank, generic_orbit_dimension, orbit_dimension
from isoloss.symmetry import Symmetries, named_tensors
from networks import hidden, linear_symmetries, mlp, mlp_symmetries
from zoo import ZOO

GROUPS = {"linear": GeneralLinear, "homogeneous": PositiveScaling, "radial": Orthogonal}
# Every group and kind of slot that is found: batches, frames, shifts through weights, segments.
KINDS = [
    "attention_cosine",
    "attention_softmax",
    "conv_grouped",
    "gpt_untied",
    "lora_embedding",
    "lora_trainable",
    "radial_activation",
    "rope_half",
]


def literal(model, symmetries):
    """The rank of all velocities, one basis element after another."""
    tensors = {n: t.detach().double() for n, t in named_tensors(model).items()}
    moving = [s for s in symmetries if s.dim]
    return rank(tangents(moving, tensors, dict.fromkeys(n for s in moving for n in s.parameters)))


def linear_layers(*widths, bias=True):
    return mlp(*widths, activation=nn.Identity, bias=bias)


@pytest.mark.parametrize("activation", GROUPS)
def test_two_layers_have_the_generic_dimension(activation):
    for m in range(1, 5):
        for n in range(1, 5):
            for h in range(1, 10):
                model = linear_layers(n, h, m, bias=False)
                found = orbit_dimension(model, hidden(model, GROUPS[activation], activation))
                assert found.dimension == generic_orbit_dimension(m, h, n, activation), (m, h, n)
                assert found.dimension + found.stabilizer == found.algebra
                assert found.gap > 1e4 or found.algebra == 0


@pytest.mark.parametrize(
    "widths",
    [(5, 7, 6, 3), (2, 9, 8, 3), (3, 8, 8, 8, 2), (6, 2, 7, 6), (4, 4, 4, 4), (1, 9, 1), (2, 9, 4, 9, 2)],
)
@pytest.mark.parametrize("bias", [False, True])
def test_deep_linear_networks_against_a_literal_rank(widths, bias):
    """Wide layers, equal ones, a bottleneck between wide ones."""
    model = linear_layers(*widths, bias=bias)
    symmetries = isoloss.find(model, torch.randn(4, widths[0]))
    assert orbit_dimension(model, symmetries).dimension == literal(model, symmetries)


@pytest.mark.parametrize("seed", range(12))
def test_deep_linear_networks_of_low_rank(seed):
    """Every weight of any rank, zero among them: intervals of every length occur. No tolerance: both are counts."""
    generator = torch.Generator().manual_seed(seed)
    widths = torch.randint(1, 7, (5,), generator=generator).tolist()
    model = linear_layers(*widths, bias=bool(seed % 2)).double()
    symmetries = isoloss.find(model, torch.randn(4, widths[0]).double())
    with torch.no_grad():
        for layer in (m for m in model if isinstance(m, nn.Linear)):
            rank = int(torch.randint(0, 1 + min(layer.weight.shape), (), generator=generator))
            left, right = (torch.randn(n, rank, generator=generator).double() for n in layer.weight.shape)
            layer.weight.copy_(left @ right.T)
    found = orbit_dimension(model, symmetries)
    assert found.dimension == literal(model, symmetries)
    parts = [s for s in symmetries if isinstance(s.group, GeneralLinear)][:-1]  # biases that nothing slides
    assert orbit_dimension(model, parts).dimension == literal(model, parts)


def test_wide_layers_between_narrow_ends_cost_nothing():
    """10-60-60-60-10: the stabilizer is a 50 x 50 matrix that passes through; no matrix of the generators is formed."""
    model = linear_layers(10, 60, 60, 60, 10)
    symmetries = isoloss.find(model, torch.randn(2, 10), verify=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_rank, "MOST", 190 * 180)  # biases and the translations that slide them
        found = orbit_dimension(model, symmetries)
    assert (found.dimension, found.stabilizer, found.algebra) == (8480, 50 * 50, 10_980) and found.gap > 1e4


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_symmetry_against_a_literal_rank(name):
    model, inputs = ZOO[name].build()
    symmetries = isoloss.find(model, inputs)
    assert orbit_dimension(model, symmetries).dimension == literal(model, symmetries)


def test_it_agrees_with_the_certificate():
    model = linear_layers(3, 6, 5, 2)
    symmetries = isoloss.find(model, torch.randn(4, 3))
    certificate = isoloss.certificate(model, torch.randn(4, 3), symmetries, points=1)
    assert orbit_dimension(model, symmetries).dimension == certificate.orbit_dimension == certificate.nullity


def test_overlapping_families_count_once():
    model = mlp(4, 6, 3)
    symmetries = mlp_symmetries(model)
    twice = Symmetries([*symmetries, *symmetries], model)
    found = orbit_dimension(model, twice)
    assert (found.dimension, found.stabilizer, found.algebra) == (6, 6, 12)
    # A diagonal matrix is a matrix: the scalings lie in GL.
    linear = linear_layers(4, 3, 5)
    both = Symmetries([*linear_symmetries(linear), *mlp_symmetries(linear)], linear)
    assert orbit_dimension(linear, both).dimension == 9


def test_the_dimension_is_that_of_the_whole_orbit():
    model = linear_layers(3, 7, 6, 2).double()
    symmetries = isoloss.find(model, torch.randn(4, 3))
    before = orbit_dimension(model, symmetries)
    symmetries.act_(symmetries.sample(0.5))
    after = orbit_dimension(model, symmetries)
    assert (before.dimension, before.stabilizer) == (after.dimension, after.stabilizer)


@torch.no_grad()
def test_a_dead_unit_has_no_orbit_and_a_tiny_one_has():
    model = mlp(4, 6, 3).double()
    symmetries = mlp_symmetries(model)
    for t in (model[0].weight, model[0].bias):
        t[2] *= 1e-10
    model[2].weight[:, 2] *= 1e-10
    assert orbit_dimension(model, symmetries).dimension == 6
    for t in (model[0].weight, model[0].bias):
        t[2] = 0.0
    assert orbit_dimension(model, symmetries).dimension == 6  # its outgoing weights still scale
    model[2].weight[:, 2] = 0.0
    found = orbit_dimension(model, symmetries)
    assert (found.dimension, found.stabilizer) == (5, 1)


@torch.no_grad()
def test_rank_deficient_weights_have_smaller_orbits():
    """V of rank r = 2 and U of rank 5: the stabilizer maps the cokernel of V to the kernel of U."""
    model = linear_layers(4, 6, 5, bias=False).double()
    model[0].weight.copy_(torch.randn(6, 2).double() @ torch.randn(2, 4).double())
    found = orbit_dimension(model, linear_symmetries(model))
    assert found.stabilizer == (6 - 2) * (6 - 5)


def test_moved_tensors_may_stand_for_the_model():
    model = linear_layers(3, 7, 2).double()
    symmetries = linear_symmetries(model)
    tensors = named_tensors(model)
    moved = tensors | symmetries.act(symmetries.sample(0.3), tensors)
    assert orbit_dimension(moved, symmetries) != orbit_dimension(
        {n: 0 * t for n, t in moved.items()}, symmetries
    )
    assert orbit_dimension(moved, symmetries).dimension == orbit_dimension(model, symmetries).dimension


def test_half_precision_models_are_judged_in_float64():
    model = linear_layers(3, 7, 2).bfloat16()
    found = orbit_dimension(model, linear_symmetries(model))
    assert found.dimension == 49 - (7 - 4) * (7 - 2)  # the bias is one more input
    assert found.gap > 1e4


def test_without_continuous_symmetry_the_orbit_is_a_point():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2))
    found = orbit_dimension(model, isoloss.find(model, torch.randn(2, 3)))
    assert (found.dimension, found.stabilizer, found.algebra) == (0, 0, 0)


def test_it_prints():
    model = linear_layers(2, 5, 2, bias=False)
    text = str(orbit_dimension(model, linear_symmetries(model)))
    assert text.startswith(
        "the orbit has dimension 16, the stabilizer 9 of 25 (20 parameters that move, singular"
    )


def test_messages(monkeypatch):
    model = linear_layers(3, 4, 2)
    symmetries = linear_symmetries(model)
    with pytest.raises(
        ValueError, match=r"orbit_dimension: there must be parameters; got none; give the model"
    ):
        orbit_dimension(nn.ReLU(), symmetries)
    with pytest.raises(
        ValueError, match=r"every parameter that moves must be there; got none called 0.weight"
    ):
        orbit_dimension({"other": torch.ones(2)}, symmetries)
    with monkeypatch.context() as small:
        small.setattr(_rank, "MOST", 10)
        with pytest.raises(
            ValueError, match=r"share parameters may have 10 entries.* got 1 generators of 11"
        ):
            orbit_dimension(relu := mlp(5, 6, 5), mlp_symmetries(relu))
    monkeypatch.setattr(_orbit_dimension, "MOST", 3)
    wide = linear_layers(2, 6, 6, 2)
    with pytest.raises(ValueError, match=r"may have 3 entries .* take a narrower model"):
        orbit_dimension(wide, linear_symmetries(wide))


def test_symmetries_of_a_model_of_other_shapes_are_refused():
    """A wider layer has the entries that the blocks name, so that nothing would break."""
    symmetries = isoloss.find(mlp(4, 5, 3), torch.randn(2, 4))
    wider, x = mlp(4, 7, 3).double(), torch.randn(3, 4).double()

    def loss():
        return wider(x).square().sum()

    for ask in (
        lambda: landscape.orbit_dimension(wider, symmetries),
        lambda: landscape.flat_directions(wider, loss, symmetries, critical=False),
        lambda: landscape.least_trace(wider, loss, symmetries),
    ):
        with pytest.raises(
            ValueError, match=r"landscape\.\w+: .*got \(7, 4\) for 0.weight of shape \(5, 4\)"
        ):
            ask()
