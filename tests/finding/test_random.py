"""Hundreds of random networks: all that the rules claim holds, and is no more than the null space of the Jacobian."""

import pytest
import torch

from architectures import FAMILIES, random_model
from finding.searching import watched_controls
from finding.spans import rank, tangents
from isoloss.finding import _run, find
from nullspace import double, jacobian, null_space
from zoo import redraw

# Sequences and recurrent networks take longer than the others.
NETWORKS = {"vector": 120, "image": 60, "sequence": 10, "recurrent": 10}
SEEDS = [(family, seed) for family in FAMILIES for seed in range(NETWORKS[family])]
TINY = 150  # parameters, of networks whose Jacobian is looked at
# Known gaps, each with its reason: what the rules leave out here they should not.
LEFT_OUT: dict[tuple[str, int], str] = {}


@pytest.mark.parametrize(("family", "seed"), SEEDS, ids=[f"{f}-{s}" for f, s in SEEDS])
def test_all_that_is_claimed_holds(family, seed, monkeypatch):
    """No rule fails, none is missing, and no symmetry that the rules promise fails its verification."""
    monkeypatch.setattr(_run, "STRICT", True)
    model, inputs = random_model(seed, family)
    with watched_controls() as controls:
        found = find(model, inputs, verify="full")
    # Units that are dead wherever one looks, and saturated outputs, show nothing; that is no fault of a rule.
    notes = [note for note in found.notes if not note.endswith("so that its check showed nothing")]
    assert not any("it is not a symmetry here" in note for note in notes)
    assert bool(notes) == ((family, seed) in LEFT_OUT), notes
    assert all(s.error <= 1e-10 for s in found if s.exact)
    assert all(c.left_behind > 1e-7 or c.shaken <= 1e-7 for c in controls)
    if sum(p.numel() for p in model.parameters()) <= TINY:
        assert_tangent_to_the_level_set(model, inputs, found)


def assert_tangent_to_the_level_set(model, inputs, found) -> None:
    """Generators lie in the null space of the Jacobian over many inputs, and span no more than all of it."""
    parameters = {n: p.detach().double() for n, p in model.named_parameters()}
    moving = found.within(parameters).where(lambda s: s.exact and s.dim > 0)
    generator = torch.Generator().manual_seed(0)
    vocabulary = 1 + int(inputs.max()) if not inputs.is_floating_point() else 0
    batch = [double(redraw(inputs, vocabulary, 1.5, generator)) for _ in range(8)]
    j = jacobian(model.double(), parameters, batch)
    rows = tangents(moving, parameters, parameters)
    if len(rows):
        # Each generator has length one; a product of some ten factors carries a dozen digits.
        assert (j @ rows.T).abs().max() <= 1e-10 * j.norm(dim=1).max()
    assert rank(rows) <= null_space(j)[0]


def test_there_is_something_to_find():
    """Or the tests above would say little: in a few networks, every kind of group."""
    found = [
        s
        for seed in range(3)
        for f in ("vector", "sequence")
        for s in find(*random_model(seed, f), verify=False)
    ]
    groups = {type(s.group).__name__ for s in found}
    assert groups >= {
        "PositiveScaling",
        "Permutation",
        "GeneralLinear",
        "SignFlip",
        "Translation",
        "Orthogonal",
    }
