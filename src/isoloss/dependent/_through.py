"""Derivatives through a layer that is fitted to its inputs: what comes down from its matrix and its outputs."""

import torch
from torch import Tensor

from isoloss.dependent._site import Site, Trace


def plus(below: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """The sum of below, which is written over, and a b."""
    return a @ b if below is None else below.addmm_(a, b)


def slope(site: Site, trace: Trace, rows: Tensor, tangent: Tensor | None) -> Tensor:
    """Derivative by theta at fixed inputs, for w = u + theta q^T u, where the outputs before g are known."""
    found = rows @ (site.t if site.kept else trace.read @ trace.x).mT
    if tangent is None:
        return found
    return found.addmm_(trace.delta, (trace.read[:, : site.inputs] @ tangent).mT)


def through_few(
    site: Site, trace: Trace, theta: Tensor | None, rows: Tensor, tangent: Tensor | None, below: Tensor | None
) -> Tensor:
    """Derivative by the inputs of a layer through its fit to few samples; rows cancel, but for the damping."""
    x = trace.x[: site.inputs]
    assert trace.cholesky is not None
    if site.damping:
        mixed = x @ trace.cholesky.divide(trace.fit.mT @ site.back(theta, rows)).mT
        lost = trace.cholesky.divide(trace.core.mT @ rows).add_(mixed).mul_(site.damping)
        below = lost if below is None else below.add_(lost)
    if tangent is None:
        return torch.zeros_like(x) if below is None else below
    delta = site.back(theta, trace.delta)
    cross = trace.cholesky.divide(tangent.mT @ x).mT
    below = plus(below, trace.u[:, : site.inputs].mT, (delta @ cross.mT).neg_())
    return below.addmm_(torch.addmm(tangent, x, cross, alpha=-1), delta.mT @ trace.fit)


def through_few_from(site: Site, trace: Trace, product: Tensor, below: Tensor | None) -> Tensor:
    """The same for any derivative by u, the product."""
    assert trace.cholesky is not None
    n = site.inputs
    solved = trace.cholesky.divide(product @ trace.x)
    below = plus(below, trace.u[:, :n].mT, solved.neg())
    return below.addmm_(product[:, :n].mT, trace.fit).addmm_(trace.x[:n], solved.mT @ trace.fit, alpha=-1)


def through_many(site: Site, trace: Trace, product: Tensor, below: Tensor) -> Tensor:
    """The same for a least-squares fit, with the derivative of its residual; product is the derivative by u."""
    assert trace.cholesky is not None
    solved, n = trace.cholesky.divide(product), site.inputs
    core, read, y = solved[:, :n].mT, trace.u[:, :n].mT, site.stage.rows
    if 2 * len(y) < n:
        residual = y - trace.z if trace.w is trace.u else torch.addmm(y, trace.u, trace.x, alpha=-1)
        return below.addmm_(core, residual).addmm_(read, solved @ trace.x, alpha=-1)
    mixed = trace.u.mT @ solved
    return below.addmm_(core, y).addmm_((mixed + mixed.mT)[:n], trace.x, alpha=-1)
