"""A loss as a function of vectors, and its Jacobian at many points at once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from isoloss.discovery._loss import Loss
from isoloss.discovery._space import Space

# Numbers in the Jacobians of one pass: 32 MB.
AT_ONCE = 4_000_000
# Numbers in all Jacobians together: 2 GB.
MOST = 250_000_000


@dataclass(frozen=True)
class FlatLoss:
    """A loss of one sample as a function R^p x R^m -> R^d, in float64.

    Attributes:
        loss: What was given: loss(params, data), both without an axis of samples.
        parameters: Of the parameters; its size is p.
        data: Of the data; its size is m.
        outputs: d; a loss that is a number has one.
        where: Who asks, for messages.
    """

    loss: Loss
    parameters: Space
    data: Space
    outputs: int
    where: str

    @classmethod
    def of(
        cls, loss: Loss, parameters: Space, data: Space, sample: tuple[Tensor, Tensor], where: str
    ) -> FlatLoss:
        """That of a loss, tried on one sample.

        Args:
            loss: The loss of one sample, a number or a vector.
            parameters: Of the parameters.
            data: Of the data.
            sample: Vectors (p,) and (m,).
            where: Who asks.

        Raises:
            ValueError: If the loss does not run, is no number or vector, or differs from call to call.
        """
        untried = cls(loss, parameters, data, 0, where)
        return replace(untried, outputs=untried._tried(*(t.double() for t in sample)))

    def vectors(self, params: Any, data: Any) -> tuple[Tensor, Tensor]:
        """Samples as vectors in float64; see `vectors`."""
        return vectors(self.parameters, self.data, params, data, self.where)

    def __call__(self, theta: Tensor, x: Tensor) -> Tensor:
        """The loss of one sample: (p,), (m,) -> (d,)."""
        return self.loss(self.parameters.tree(theta), self.data.tree(x)).reshape(-1)

    def jacobians(self, theta: Tensor, x: Tensor) -> Tensor:
        """The derivatives by the parameters at every sample: (n, p), (n, m) -> (n, d, p).

        All samples at once, by `torch.func`. A batching rule can be missing, or wrong without a word, so one sample
        is compared with a plain backward pass along a random combination of the outputs; on a difference samples
        are done one by one.

        Raises:
            ValueError: If there are too many numbers, or some are not finite.
        """
        size = len(theta) * self.outputs * self.parameters.size
        if size > MOST:
            raise ValueError(
                f"{self.where}: the Jacobians may have {MOST:,} entries, 2 GB; got {size:,}: {len(theta)} samples of "
                f"{self.outputs} outputs and {self.parameters.size} parameters; take fewer samples, or a smaller net."
            )
        found = self._at_once(theta, x)
        if found is None:
            found = torch.stack([self._plainly(*point) for point in zip(theta, x, strict=True)])
        wrong = ~found.flatten(1).isfinite().all(1)
        if bool(wrong.any()):
            raise ValueError(
                f"{self.where}: the derivatives of the loss must be finite; got nan or inf in {int(wrong.sum())} of "
                f"{len(wrong)} samples, the first is number {int(wrong.nonzero()[0])}; draw smaller parameters, or "
                "keep roots and logarithms away from zero."
            )
        return found

    def _at_once(self, theta: Tensor, x: Tensor) -> Tensor | None:
        some = max(1, AT_ONCE // (self.outputs * max(1, self.parameters.size)))
        try:
            found = vmap(jacrev(self), chunk_size=some)(theta, x).detach()
        except (
            RuntimeError,
            NotImplementedError,
        ):  # no batching rule, or a branch on values: one by one, then
            return None
        random = torch.Generator().manual_seed(0)
        weights = torch.randn(self.outputs, generator=random, dtype=theta.dtype).to(theta.device)
        plain, mixed = self._pulled(theta[0], x[0], weights), weights @ found[0]
        # Rounding, summed over as many terms as there may be entries. Where nan is compared it is told by the caller.
        if bool((mixed - plain).norm() > 1e-10 * plain.norm()):
            return None
        return found

    def _pulled(self, theta: Tensor, x: Tensor, weights: Tensor) -> Tensor:
        with torch.enable_grad():
            point = theta.detach().requires_grad_()
            y = self(point, x)
            if not y.requires_grad:
                return torch.zeros_like(theta)
            (found,) = torch.autograd.grad(y, point, weights, allow_unused=True)
        return torch.zeros_like(theta) if found is None else found

    def _plainly(self, theta: Tensor, x: Tensor) -> Tensor:
        eye = torch.eye(self.outputs, dtype=theta.dtype, device=theta.device)
        return torch.stack([self._pulled(theta, x, row) for row in eye])

    def _tried(self, theta: Tensor, x: Tensor) -> int:
        """The number of outputs."""
        sample = self.parameters.tree(theta), self.data.tree(x)
        try:
            twice = [self.loss(*sample) for _ in range(2)]
        except Exception as error:
            raise ValueError(
                f"{self.where}: loss(params, data) must run on one sample in float64, without the axis of samples; "
                f"got {type(error).__name__}: {error}; try it on params[0] and data[0] in torch.float64."
            ) from error
        y = twice[0]
        if not isinstance(y, Tensor) or y.dim() > 1 or not y.numel() or not y.is_floating_point():
            got = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else repr(y)
            raise ValueError(
                f"{self.where}: the loss of one sample must be a real number, or a vector (d,); got {got}; "
                "end with .sum(), or with .flatten()."
            )
        if not bool(y.isfinite().all()):
            raise ValueError(
                f"{self.where}: the loss must be finite; got {y.detach().flatten()[:3].tolist()} at the first sample; "
                "draw smaller parameters, or keep roots and logarithms away from zero."
            )
        if not torch.equal(twice[0], twice[1]):
            raise ValueError(
                f"{self.where}: the loss of a sample must be the same at every call; got "
                f"{[float(t.detach().flatten()[0]) for t in twice]}; let its noise, or dropout, be part of the data."
            )
        if self._is_cut(theta, x, y):
            raise ValueError(
                f"{self.where}: the loss must be differentiable in the parameters; got one that changes with them and "
                "has no gradient; compute it without detach(), .data or item()."
            )
        return y.numel()

    def _is_cut(self, theta: Tensor, x: Tensor, y: Tensor) -> bool:
        """Does the loss, y here, change with the parameters though no gradient leads to them?"""
        data = self.data.tree(x)
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it reads by float(), in a branch, say
            if self.loss(self.parameters.tree(theta.clone().requires_grad_()), data).requires_grad:
                return False
        return not torch.equal(self.loss(self.parameters.tree(1.1 * theta + 0.1), data), y)


def vectors(
    parameters: Space, data_space: Space, params: Any, data: Any, where: str
) -> tuple[Tensor, Tensor]:
    """Samples of parameters and of data as vectors in float64, (n, p) and (n, m).

    Raises:
        ValueError: If they have other shapes than before, are not equally many, none, or not finite.
    """
    theta, x = parameters.flat(params).detach().double(), data_space.flat(data).detach().double()
    if len(theta) != len(x) or not len(theta):
        raise ValueError(
            f"{where}: there must be as many samples of data as of parameters, one at the least; got {len(theta)} of "
            f"parameters and {len(x)} of data; give both the same first axis."
        )
    for word, values in (("parameters", theta), ("data", x)):
        wrong = ~values.isfinite().all(1)
        if bool(wrong.any()):
            raise ValueError(
                f"{where}: {word} must be finite; got nan or inf in {int(wrong.sum())} of {len(wrong)} samples, the "
                f"first is number {int(wrong.nonzero()[0])}; draw them anew."
            )
    return theta, x
