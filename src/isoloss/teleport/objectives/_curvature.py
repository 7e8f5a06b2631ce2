"""Curvature of the minimum: the mean curvature of curves on the level set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from isoloss.symmetry import Symmetry
from isoloss.teleport._derivatives import complete
from isoloss.teleport._point import Point
from isoloss.teleport.curves import Curve, LayerPair, curvature, random_curves
from isoloss.teleport.objectives._objective import check_lower


@dataclass(frozen=True)
class Curvature:
    r"""The mean curvature of curves on the level set, raised as in the paper or lowered.

    .. math:: \psi(w) = \frac1k \sum_{i=1}^k \kappa(\gamma_{M_i}, 0), \qquad \gamma_M(t) = \exp(tM) \cdot w

    Where a minimum is a manifold, Hessians do not see how it bends. Everything is in closed form: with curves along
    exact symmetries it is a function of the parameters and costs no pass, with data-dependent ones the first layers
    of a forward pass for each. `Curvature.of(symmetries)` draws the former, `Curvature.of(layer_pairs(model, x))` the
    latter.

    Attributes:
        curves: The curves: along exact symmetries (`OrbitCurve`), or data-dependent ones (`ForwardCurve`,
            `InverseCurve`) for each pair of layers.
        lower: Go where the minimum bends less instead.

    References:
        Dissertation, Eq. (5.2) and Algorithm 2; Zhao et al. (2024), Eqs. (39) and (44) to (52).
    """

    curves: tuple[Curve, ...] = field(repr=False)
    lower: bool = False

    name = "curvature"
    radius = 0.1
    needs_gradients = False

    def __post_init__(self) -> None:
        check_lower(self)
        if not isinstance(self.curves, Iterable):
            raise ValueError(
                f"Curvature: curves must be a list of curves; got {self.curves!r}; write Curvature.of(symmetries)."
            )
        object.__setattr__(self, "curves", tuple(self.curves))
        if not self.curves:
            raise ValueError(
                "Curvature: there must be a curve; got none; draw some with Curvature.of(symmetries), from symmetries "
                "of which one at least is continuous, or with Curvature.of(curves.layer_pairs(symmetries, x))."
            )

    @classmethod
    def of(
        cls,
        along: Iterable[Symmetry | LayerPair],
        count: int = 1,
        *,
        lower: bool = False,
        generator: torch.Generator | None = None,
    ) -> "Curvature":
        """With random curves, `count` along each continuous symmetry and each pair of layers: k of Eq. (5.2)."""
        return cls(tuple(random_curves(along, count, generator)), lower)

    @property
    def passes(self) -> int:
        """One, at most, for every curve that depends on data."""
        return sum(hasattr(curve, "layers") for curve in self.curves)

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The mean curvature at other parameters."""
        there = dict(point.tensors) | complete(point, tensors)
        found = [curvature(*curve.derivatives(there, 2)) for curve in self.curves]
        return torch.stack([k.to(found[0]) for k in found]).mean()
