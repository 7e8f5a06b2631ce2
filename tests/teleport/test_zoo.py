"""Jumps along the symmetries that `find` finds: the loss stays, the gradient is the one that was predicted."""

import warnings

import pytest
import torch
from torch import Tensor
from torch.optim import SGD
from torch.utils._pytree import tree_leaves, tree_map

from isoloss import find
from isoloss.teleport import (
    Balance,
    Custom,
    GradientNorm,
    LieAscent,
    NullSpaceProjection,
    RandomTeleport,
    Teleport,
    TransportedAscent,
    always,
)
from zoo import ZOO

# Every fourth network: the zoo lists variants of one architecture side by side.
NAMES = list(ZOO)[::4]


def double(inputs):
    return tree_map(lambda t: t.double() if isinstance(t, Tensor) and t.is_floating_point() else t, inputs)


def backward(model, inputs) -> Tensor:
    """A loss that sees every output, from the same random numbers and buffers each time; fills the gradients."""
    buffers = [b.clone() for b in model.buffers()]
    torch.manual_seed(1)
    match inputs:
        case dict():
            outputs = model(**inputs)
        case tuple():
            outputs = model(*inputs)
        case _:
            outputs = model(inputs)
    outputs = [t.double() for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.is_floating_point()]
    loss = torch.stack([(t * torch.randn_like(t)).sum() + t.square().mean() for t in outputs]).sum()
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return loss.detach()


@pytest.mark.parametrize("name", NAMES)
def test_jumps_are_exact_on_what_find_finds(name):
    model, inputs = ZOO[name].build()
    symmetries = find(model, inputs)
    model, inputs = model.double(), double(inputs)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not trained:
        pytest.skip("nothing to train")
    for objective in (GradientNorm(), GradientNorm(lower=True), Balance()):
        optimizer = SGD(trained.values(), lr=0.1)
        if not usable(TransportedAscent(), symmetries):
            with pytest.raises(ValueError, match="TransportedAscent must have a symmetry to move along"):
                Teleport(optimizer, symmetries, objective, always)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # frozen: that is tested elsewhere
            teleport = Teleport(optimizer, symmetries, objective, always)
        before = backward(model, inputs)
        jump = teleport.step()
        moved = {n: p.grad.clone() for n, p in trained.items() if p.grad is not None}
        after = backward(model, inputs)
        norm = torch.nn.utils.get_total_norm([trained[n].grad for n in moved])
        # Float64 leaves 1e-16 per operation; thousands of operations and cond(g) up to 1e4 for a Balance.
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
        for n, gradient in moved.items():
            assert (gradient - trained[n].grad).norm() <= 1e-8 * norm, n
        assert jump.skipped is None
        assert jump.gradient_norm_after == pytest.approx(norm.item(), rel=1e-8)
        if objective.lower:
            assert jump.after <= jump.before * (1 + 1e-12)
        else:
            assert jump.after >= jump.before * (1 - 1e-12)


def usable(solver, symmetries) -> bool:
    """Can the solver move anything along these, or without them?"""
    return not getattr(solver, "along_symmetries", True) or any(
        s.exact and solver.uses(s) for s in symmetries
    )


def run(model, inputs, weights) -> Tensor:
    """A loss without a backward pass: fixed random functionals of the outputs, noise the same in every pass."""
    torch.manual_seed(1)
    outputs = (
        model(**inputs)
        if isinstance(inputs, dict)
        else model(*inputs)
        if isinstance(inputs, tuple)
        else model(inputs)
    )
    outputs = [t.double() for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.is_floating_point()]
    if not weights:
        weights += [torch.randn_like(t) for t in outputs]
    return torch.stack([(t * w).sum() for t, w in zip(outputs, weights, strict=True)]).sum()


@pytest.mark.parametrize("name", NAMES[::2])
def test_solvers_that_evaluate_are_exact_on_what_find_finds(name):
    """An objective that no symmetry but permutations and signs keeps: it improves, and the outputs stay."""
    model, inputs = ZOO[name].build()
    symmetries = find(model, inputs)
    model, inputs = model.double(), double(inputs)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not trained:
        pytest.skip("nothing to train")
    objective = Custom(
        lambda _, w: torch.stack([(w[n] + 0.1).pow(4).sum() for n in trained]).sum(), lower=True
    )
    weights: list[Tensor] = []
    before, moved = run(model, inputs, weights).detach(), 0
    for solver in (
        LieAscent(2),
        LieAscent(2, retraction="first-order"),
        RandomTeleport(),
        NullSpaceProjection(2),
    ):
        if not usable(solver, symmetries):
            continue  # refused: that is tested above
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # frozen: that is tested elsewhere
            teleport = Teleport(
                SGD(trained.values(), lr=0.1),
                symmetries,
                objective,
                always,
                0.1,
                solver,
                loss=lambda: run(model, inputs, weights),
                generator=torch.Generator().manual_seed(0),
            )
        jump = teleport.step()
        torch.testing.assert_close(run(model, inputs, weights).detach(), before, rtol=1e-8, atol=1e-8)
        if jump.skipped is None:
            moved += 1
            assert jump.after < jump.before or isinstance(solver, RandomTeleport)
    assert moved or not usable(LieAscent(), symmetries)
