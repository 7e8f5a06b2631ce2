"""The condition on generators, J h phi = 0 at all samples: collected, and solved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from isoloss.discovery._loss import SLOPED
from isoloss.discovery.null_spaces._factor import Factor
from isoloss.discovery.null_spaces._features import Feature
from isoloss.discovery.null_spaces._flat_loss import AT_ONCE, FlatLoss
from isoloss.discovery.null_spaces._sparse_basis import sparse_basis
from isoloss.finding._complement import ROUNDING, cut
from isoloss.finding._tangents import unit

# Rows that are taken in at once, at the least.
BLOCK = 256


@dataclass(frozen=True)
class Sides:
    """Both sides of J h phi at n samples, rows of length one."""

    theta: Tensor
    x: Tensor
    jacobians: Tensor  # (n, d, p)
    features: Tensor  # (n, q)

    @classmethod
    def at(cls, flat: FlatLoss, feature: Feature, theta: Tensor, x: Tensor) -> Sides:
        """Those of vectors (n, p) and (n, m); rows below 1e-14 of the longest are zero."""
        jacobians = flat.jacobians(theta, x).cpu()  # where the decompositions are as fast
        features = vmap(feature)(theta, x).detach().cpu()
        wrong = ~features.isfinite().all(1)
        if bool(wrong.any()):
            raise ValueError(
                f"{flat.where}: features must be finite; got nan or inf in {int(wrong.sum())} of {len(wrong)} samples; "
                "keep divisions away from zero."
            )
        floor = ROUNDING * float(jacobians.norm(dim=2).max())
        rows = unit(jacobians, floor)
        flat_at = int((rows == 0).flatten(1).all(1).sum())
        if flat_at > (1 - SLOPED) * len(rows):
            raise ValueError(
                f"{flat.where}: the loss must depend on the parameters, at a tenth of the samples at least; got a "
                f"derivative of zero at {flat_at} of {len(rows)}; sample where it is not constant."
            )
        return cls(theta, x, rows, unit(features))

    def products(self, most: int) -> Iterator[Tensor]:
        """The rows J_r (x) phi, about so many at a time, each of p q entries."""
        some = max(1, most // self.jacobians.shape[1])
        for j, phi in zip(self.jacobians.split(some), self.features.split(some), strict=True):
            yield (j[:, :, :, None] * phi[:, None, None, :]).flatten(2).flatten(0, 1)

    def changes(self, generators: Tensor) -> Tensor:
        """The largest |J h phi| of each generator."""
        k, p, _ = generators.shape
        some = max(1, AT_ONCE // max(1, k * max(p, self.jacobians.shape[1])))
        worst = generators.new_zeros(k)
        for j, phi in zip(self.jacobians.split(some), self.features.split(some), strict=True):
            moved = torch.einsum("kpq,nq->nkp", generators, phi)
            worst = torch.maximum(worst, torch.einsum("ndp,nkp->ndk", j, moved).abs().amax((0, 1)))
        return worst


class Solved(NamedTuple):
    """The generators (k, p, q), all singular values, and the gap before those that are zero."""

    generators: Tensor
    singular_values: Tensor
    gap: float


class Condition:
    r"""The quadratic form :math:`\mathbb E |J h \phi|^2 / \mathbb E |h \phi|^2` in h, by its factors.

    Args:
        p: Number of parameters.
        q: Number of features.
    """

    def __init__(self, p: int, q: int):
        self._shape = p, q
        self._rows, self._features = Factor(p * q), Factor(q)

    def add(self, sides: Sides) -> None:
        """Take in samples."""
        self._features.add(sides.features)
        for rows in sides.products(max(self._rows.triangle.shape[1], BLOCK)):
            self._rows.add(rows)

    def solve(self) -> Solved:
        """The h for which it is zero, orthonormal."""
        p, q = self._shape
        rows = self._rows.mean
        _, size, directions = torch.linalg.svd(self._features.mean, full_matrices=False)
        rank = cut(size / size[:1].clamp_min(torch.finfo(size.dtype).tiny))
        white = directions[:rank].T / size[:rank]  # phi in these coordinates has E psi psi^T = 1
        rows = (rows.reshape(-1, p, q) @ white).reshape(len(rows), p * rank)
        _, singular, vh = torch.linalg.svd(rows, full_matrices=True)
        singular = torch.cat([singular, singular.new_zeros(p * rank - len(singular))])
        relative = singular / (float(singular[:1].sum()) or 1.0)
        count = cut(relative)
        kept = float(relative[count - 1]) if count else 1.0
        gap = kept / max([ROUNDING, *relative[count:].tolist()])
        found = (vh[count:].reshape(-1, p, rank) @ white.T).flatten(1)
        found = sparse_basis(torch.linalg.qr(found.T).Q.T) if len(found) else found
        return Solved(found.reshape(-1, p, q), singular, gap)
