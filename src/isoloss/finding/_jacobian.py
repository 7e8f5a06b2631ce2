"""Rows of the Jacobian: how every output of a model moves with its parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.finding._gradients import TrueGradients
from isoloss.finding._tape import tensors_in
from isoloss.finding._world import Float64World, settings, without_trace

# Numbers in the rows computed at once: 32 MB.
AT_ONCE = 4_000_000


class Pullback:
    """The products of row vectors with the Jacobian of some vector with respect to tensors: backward passes.

    Many are done at a time, vectorized. A batching rule can be wrong without a word, so each batch is compared with
    one plain backward pass along a random combination; on a difference, or if an op has no batching rule, rows are
    done one by one.

    Args:
        tensors: The tensors, which require gradients.
        random: Source of random numbers.
    """

    def __init__(self, tensors: Sequence[Tensor], random: torch.Generator):
        self.tensors, self.random = tensors, random
        self._batched = True

    def rows(self, y: Tensor, weights: Tensor) -> Tensor:
        """One row for each row of the weights: shape (rows, entries of all tensors).

        Args:
            y: The vector, with a graph, which is kept.
            weights: Shape (rows, len(y)).
        """
        if self._batched:
            try:
                with warnings.catch_warnings():  # An op without a batching rule is only slower.
                    warnings.simplefilter("ignore", UserWarning)
                    rows = self._backward(y, weights, batched=True)
                mix = torch.randn(len(weights), generator=self.random, dtype=weights.dtype).to(weights.device)
                plain = self._backward(y, mix @ weights, batched=False)
                # Rounding, summed over as many terms as there may be entries.
                tolerance = max(1e-10, 100 * torch.finfo(y.dtype).eps)
                if bool((mix @ rows - plain).norm() <= tolerance * plain.norm()):
                    return rows
            except (RuntimeError, NotImplementedError):  # some op has no batching rule: row by row, then
                pass
            self._batched = False
        return torch.stack([self._backward(y, w, batched=False) for w in weights])

    def _backward(self, y: Tensor, weights: Tensor, *, batched: bool) -> Tensor:
        found = torch.autograd.grad(
            y, self.tensors, weights, retain_graph=True, allow_unused=True, is_grads_batched=batched
        )
        lead = weights.shape[:-1]
        parts = [
            torch.zeros(*lead, t.numel(), device=y.device, dtype=y.dtype)
            if g is None
            else g.reshape(*lead, t.numel())
            for g, t in zip(found, self.tensors, strict=True)
        ]
        return torch.cat(parts, -1)


class Jacobian:
    """The Jacobian of the outputs of a float64 copy with respect to some of its tensors, input by input.

    Rows are computed many at a time; see `Pullback`.

    Args:
        twin: The copy; its running statistics are restored after each pass.
        tensors: Tensors of the copy that are moved, by name: the columns, in this order.
        random: Source of random numbers.
    """

    def __init__(self, twin: nn.Module, tensors: dict[str, Tensor], random: torch.Generator):
        self.twin, self.tensors, self.random = twin, tensors, random
        self.columns = sum(t.numel() for t in tensors.values())
        self._pullback = Pullback(list(tensors.values()), random)

    def rows(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """Gradients of the outputs, shape (rows, columns): of each, or of `columns` random mixtures if more."""
        for t in self.tensors.values():
            t.requires_grad_(True)
        try:
            with without_trace(self.twin), settings(), Float64World(), TrueGradients():
                y = _vector(self.twin(*args, **kwargs))
                weights = self._weights(len(y)) if y.requires_grad else ()
                found = [self._pullback.rows(y, w.to(y.device)).cpu() for w in weights]
        finally:
            for t in self.tensors.values():
                t.requires_grad_(False)
        rows = torch.cat(found) if found else torch.zeros(0, self.columns, dtype=torch.float64)
        return rows[rows.isfinite().all(1)]

    def _weights(self, outputs: int) -> Iterator[Tensor]:
        """Weights of the outputs for each row, shape (some rows, outputs)."""
        count, some = min(outputs, self.columns), max(1, AT_ONCE // max(self.columns, outputs))
        for start in range(0, count, some):
            shape = min(some, count - start), outputs
            if outputs <= self.columns:
                weights = torch.zeros(shape)
                weights.diagonal(start).fill_(1.0)
                yield weights
            else:
                yield torch.randn(shape, generator=self.random) / outputs**0.5


def _vector(output: Any) -> Tensor:
    """All finite floating-point outputs, as one vector."""
    parts = [t.flatten() for t in tensors_in(output) if t.is_floating_point()]
    y = torch.cat(parts) if parts else torch.zeros(0)
    return y[y.detach().isfinite()]
