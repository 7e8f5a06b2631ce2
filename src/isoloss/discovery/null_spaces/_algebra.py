"""Do generators close under the Lie bracket, and to what algebra?"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import jvp, vmap

from isoloss.discovery.null_spaces._features import Feature
from isoloss.finding._complement import cut

# Brackets further than this from the span, relative to the products that they are the difference of, leave it. Least
# squares over sampled fields lose half of the digits at the worst.
INSIDE = 1e-8


@dataclass(frozen=True)
class Algebra:
    r"""What the brackets of some vector fields are, :math:`[v_i, v_j] = \sum_k c_{ijk} v_k`.

    Attributes:
        dimension: Number of generators.
        residual: How far the brackets are from the span at the most, relative to the products that they are made of.
        structure: The structure constants c, (k, k, k).
        derived: Dimension of what the brackets span, within the generators; 0 for a commutative algebra.
        center: Dimension of what commutes with everything.
    """

    dimension: int
    residual: float
    structure: Tensor = field(repr=False)
    derived: int
    center: int

    @property
    def closed(self) -> bool:
        """Is every bracket a combination of the generators? If not, they generate more than they span."""
        return self.residual <= INSIDE

    def __str__(self) -> str:
        if not self.closed:
            return f"{self.dimension} generators that do not close under the bracket (off by {self.residual:.0e})"
        return (
            f"a Lie algebra of dimension {self.dimension}, its derived algebra of dimension {self.derived}, its center "
            f"of dimension {self.center} (brackets closed to {self.residual:.0e})"
        )


def algebra_of(generators: Tensor, feature: Feature, theta: Tensor, x: Tensor) -> Algebra:
    r"""The brackets of the fields :math:`v_i = h_i \phi(\theta, X)`, compared at sampled points.

    .. math:: [v_i, v_j] = h_j\, D_\theta\phi\,[v_i] - h_i\, D_\theta\phi\,[v_j]

    For linear features this is :math:`-[h_i, h_j] \theta`; features that depend on the parameters in another way, or
    on the data, are treated alike, by forward derivatives.

    Args:
        generators: (k, p, q).
        feature: (p,), (m,) -> (q,); differentiable.
        theta: Points, (n, p), more than k / p.
        x: Their data, (n, m).
    """
    k, generators = len(generators), generators.to(theta)
    if not k:
        return Algebra(0, 0.0, torch.zeros(0, 0, 0, dtype=theta.dtype), 0, 0)

    def products(point: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        fields = generators @ feature(point, data)
        change = vmap(lambda v: jvp(lambda t: feature(t, data), (point,), (v,))[1])(fields)
        return fields, torch.einsum("jpq,iq->ijp", generators, change)

    fields, along = (t.detach().cpu() for t in vmap(products)(theta, x))  # (n, k, p), (n, k, k, p)
    brackets = along - along.transpose(1, 2)
    left, right = fields.movedim(1, -1).flatten(0, 1), brackets.movedim(-1, 1).flatten(0, 1).flatten(1)
    found = torch.linalg.lstsq(left, right, driver="gelsd").solution
    size = float(along.movedim(-1, 1).flatten(0, 1).flatten(1).norm(dim=0).max())
    residual = float((right - left @ found).norm(dim=0).max()) / size if size else 0.0
    structure = found.T.reshape(k, k, k)
    derived, moved = (_rank(structure.reshape(shape)) for shape in ((k * k, k), (k, k * k)))
    return Algebra(k, residual, structure, derived, k - moved)


def _rank(matrix: Tensor) -> int:
    """Structure constants of orthonormal generators are of the size of one, or rounding."""
    return cut(torch.linalg.svdvals(matrix).clamp_max(1.0))
