"""The zoo itself: its models build, and its ledgers of symmetries are those of the null space."""

import copy

import pytest
import torch

from architectures import FAMILIES, random_model
from nullspace import draws, jacobian_nullity, leaves
from zoo import ZOO, Entry

LARGE = 200  # parameters; above it ``python tests/nullspace.py`` checks the ledger


def built(entry: Entry):
    try:
        return entry.build()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


def outputs(model, inputs):
    args, kwargs = (inputs, {}) if isinstance(inputs, tuple) else ((inputs,), {})
    if isinstance(inputs, dict):
        args, kwargs = (), inputs
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.cat([leaf.flatten() for leaf in leaves(model(*args, **kwargs))])


def widened(inputs):
    if isinstance(inputs, dict):
        return {k: widened(v) for k, v in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(widened(v) for v in inputs)
    return inputs.double() if inputs.is_floating_point() else inputs


@pytest.mark.parametrize("name", ZOO)
def test_entry_builds_the_same_twice_and_names_its_own_parameters(name):
    entry, state = ZOO[name], torch.get_rng_state()
    (model, inputs), (twin, same) = built(entry), built(entry)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(outputs(model, inputs), outputs(twin, same), rtol=0, atol=0)
    names = {n for n, _ in model.named_parameters()}
    named = set().union(*(e.slots for e in entry.contains)) | entry.rigid | {p for _, p in entry.not_group}
    assert named | set(entry.frozen) <= names
    assert sum(p.numel() for p in model.parameters()) <= 1500


# Noise is another one in float64.
@pytest.mark.parametrize("name", [name for name, e in ZOO.items() if e.family != "noise"])
def test_entry_computes_in_float64_what_it_computes_in_float32(name):
    model, inputs = built(ZOO[name])
    y = outputs(copy.deepcopy(model), inputs)
    wide = outputs(model.double(), widened(inputs))
    assert wide.dtype == torch.float64
    # a forward pass of some 100 roundings, each at most eps relative to the largest output, norms amplify tenfold
    assert (wide - y).abs().max() <= 1000 * torch.finfo(torch.float32).eps * (1 + wide.abs().max())


@pytest.mark.parametrize("name", [n for n, e in ZOO.items() if e.nullity is not None and not e.requires])
def test_ledger_is_the_null_space_of_the_jacobian(name):
    entry = ZOO[name]
    model, _ = entry.build()
    if sum(p.numel() for p in model.parameters()) > LARGE:
        pytest.skip(f"more than {LARGE} parameters: python tests/nullspace.py {name}")
    found = jacobian_nullity(model, draws(entry))
    assert found.clear, found
    assert found.nullity == entry.nullity, found


@pytest.mark.parametrize("family", FAMILIES)
def test_random_architectures_are_many_and_repeatable(family):
    printed = set()
    for seed in range(50):
        model, inputs = random_model(seed, family)
        twin, same = random_model(seed, family)
        y = outputs(model, inputs)
        torch.testing.assert_close(y, outputs(twin, same), rtol=0, atol=0)
        wide = outputs(twin.double(), widened(inputs))
        assert y.isfinite().all() and wide.dtype == torch.float64, seed
        printed.add(repr(model))
    assert len(printed) >= 45
