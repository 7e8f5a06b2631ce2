"""The curves of data-dependent action 2, of its difference form and of the frame action, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from isoloss.dependent import Frame
from isoloss.dependent._frame import _fixed
from isoloss.teleport.curves._layers import LayerPair, powers
from isoloss.teleport.curves._leibniz import (
    Series,
    product,
    pseudo_inverse,
    quotient,
    square_root,
    trace_rank,
    transposed,
)

Tensors = Mapping[str, Tensor]

FORMS = ("difference", "frame", "papers")


@dataclass(frozen=True)
class ForwardCurve:
    r"""The curve of an action that multiplies the incoming weights, and needs no inverse of the activation.

    .. math:: V(t) = e^{tM} V, \quad S(t) = \sigma(e^{tM} V X), \quad U(t) = U S\, S(t)^+ + Z(t)

    .. math:: Z = 0 \;\text{(papers)}, \qquad Z = U (I - S(t) S(t)^+) \;\text{(difference)}, \qquad
        Z = U C\, C(t)^T \;\text{(frame)}

    Here C is the complement of the frame R = [S | C]. With more samples than units all three agree. A bias of the
    outgoing layer is a column of U, and S then ends in a row of ones, as in `isoloss.dependent`. S may have any rank
    that it keeps along the curve: samples that are the same and units that are dead do not change it. Where it is less
    than the number of samples the frame does what the difference form does, as `isoloss.dependent.Frame`.

    Attributes:
        layers: The two layers and the batch.
        algebra: M, shape (h, h).
        form: "difference" or "frame", which start at the parameters, or "papers", Eq. (4.16) with a pseudo-inverse,
            which does not where there are more units than samples.

    References:
        Zhao et al. (2024), Eq. (38); dissertation, Eqs. (4.16) and (3.6); for the other forms docs/dependent.md. The
        derivatives are ours.
    """

    layers: LayerPair
    algebra: Tensor
    form: Literal["difference", "frame", "papers"] = "difference"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(
                f"ForwardCurve: form must be one of {', '.join(FORMS)}; got {self.form!r}; "
                "papers is the published one, difference the default."
            )

    def at(self, t: Tensor | float, tensors: Tensors) -> dict[str, Tensor]:
        """The parameters that move, at time t, as `isoloss.dependent` moves them."""
        u, v, x = self.layers.read(tensors)
        moved = torch.linalg.matrix_exp(t * self.algebra.to(u)) @ v
        here, there = (self.layers.units([w @ x], tensors)[0] for w in (v, moved))
        if self.form == "frame":
            return self.layers.write(Frame().outgoing(self.algebra, u, here, there), moved)
        # Not by singular vectors: their derivatives are lost where singular values are close.
        back = torch.linalg.pinv(there)
        new = (u @ here) @ back
        return self.layers.write(new if self.form == "papers" else new + u - (u @ there) @ back, moved)

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        """The first derivatives at t = 0, at most three.

        Raises:
            ValueError: If the activations change their rank along the curve, which then has no derivative.
        """
        u, v, x = self.layers.read(tensors)
        rows = powers(self.algebra.to(u), v, order)
        s = self.layers.units([w @ x for w in (v, *rows)], tensors)
        p = pseudo_inverse(s)
        columns, rank = [u @ s[0] @ q for q in p], trace_rank(s[0], p[0])
        if self.form != "papers" and rank < len(s[0]):
            projector = product(s, p)
            framed = self.form == "frame" and rank == s[0].shape[1]
            rest = _across(u, projector, rank) if framed else [-u @ q for q in projector]
            columns = [c + r for c, r in zip(columns, rest, strict=True)]
        return [self.layers.write(c, r) for c, r in zip(columns[1:], rows, strict=True)]


def _across(u: Tensor, projector: Series, rank: int) -> Series:
    r"""The derivatives of :math:`U C\, C(t)^T`, from those of the projector onto S.

    .. math:: C C(t)^T = \mathcal H (I - F F^T) \mathcal H(t), \quad \mathcal H = I - M (I + \Pi)^{-1} M^T, \quad
        M = F + P F \Pi^{-1}, \quad \Pi = (F^T P F)^{1/2}
    """
    fixed = _fixed(u.shape[1], rank).to(u)
    onto = [q @ fixed for q in projector]
    root = square_root([fixed.mT @ x for x in onto])
    mirror = quotient(onto, root)
    mirror[0] = mirror[0] + fixed
    eye = torch.eye(rank, dtype=u.dtype, device=u.device)
    reflection = product(quotient(mirror, [root[0] + eye, *root[1:]]), transposed(mirror))
    here = u - u @ reflection[0]
    here = here - (here @ fixed) @ fixed.mT
    return [here - here @ reflection[0], *(-here @ r for r in reflection[1:])]
