"""A group element as exponentials, after a reflection where it is not in the component of the identity."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from isoloss.groups import Affine, GeneralLinear, Group, Orthogonal
from isoloss.groups._discrete import Discrete
from isoloss.groups._group import excerpt

Component = Literal["same", "permute", "flip"]


@dataclass(frozen=True)
class Factors:
    r"""An element :math:`g = \exp(M_k) \cdots \exp(M_1)\, r`.

    Attributes:
        algebra: :math:`M_1, \dots, M_k`, in the order in which they act; one, the logarithm, where there is a real one.
        reflection: r, not in the component of the identity; None if g is.
    """

    algebra: tuple[Tensor, ...] = field(repr=False)
    reflection: Tensor | None = field(default=None, repr=False)


def factors(group: Group, g: Tensor, component: Component = "same", where: str = "factors") -> Factors:
    r"""Write elements as exponentials, ``(*batch, *element_shape)``.

    Scalings, complex scalings, translations and rotations have a logarithm each. A matrix of GL or an affine map has
    one unless an eigenvalue is negative; then the polar decomposition :math:`g = Q S` gives two,
    :math:`\exp(\log Q) \exp(\log S)`, which every matrix of positive determinant has. A determinant that is negative
    needs a reflection first: the transposition of the first two coordinates ("permute"), or a change of the sign of the
    first ("flip").

    Args:
        group: What g is an element of.
        g: The elements.
        component: What to do about elements outside the component of the identity; "same" refuses them.
        where: Named in the error.

    Raises:
        ValueError: If g is no element, or not in the component of the identity and component is "same".

    References:
        Dissertation, Eq. (3.5), Lemma 3.3.1 and Proposition 3.3.2.
    """
    if component not in ("same", "permute", "flip"):
        raise ValueError(
            f'{where}: component must be "same", "permute" or "flip"; got {component!r}; '
            "the last two start the curve at a reflected point if the ends lie in different components."
        )
    if isinstance(group, Discrete):
        still = bool((g == group.identity(tuple(g.shape[:-1]), dtype=g.dtype, device=g.device)).all())
        if still:
            return Factors(())
        if component == "same":
            raise ValueError(_apart(where, group, excerpt(g)))
        return Factors((), g)
    if not isinstance(group, GeneralLinear | Orthogonal | Affine):
        return Factors((group.log(g),))
    determinants = torch.linalg.det(_linear(g, group).double())
    reflection = None
    if bool((determinants < 0).any()):
        if component == "same":
            raise ValueError(_apart(where, group, f"a determinant of {float(determinants.min()):.4g}"))
        reflection = _reflection(group, g, determinants < 0, component, where)
        g = group.compose(g, group.inverse(reflection))
    return Factors(_logarithms(group, g), reflection)


def _logarithms(group: Group, g: Tensor) -> tuple[Tensor, ...]:
    try:
        return (group.log(g),)
    except ValueError:
        if isinstance(group, Orthogonal) or not group.contains(g):
            raise
    linear = _linear(g, group)
    u, s, vt = torch.linalg.svd(linear.double())
    stretch = (vt.mT * s.log().unsqueeze(-2)) @ vt
    turn = Orthogonal(group.n).log(u @ vt)
    if not isinstance(group, Affine):
        return stretch.to(g), turn.to(g)
    zero = torch.zeros_like(g[..., -1:])
    shift = torch.cat([torch.zeros_like(linear), g[..., -1:]], -1)
    return torch.cat([stretch.to(g), zero], -1), torch.cat([turn.to(g), zero], -1), shift


def _linear(g: Tensor, group: Group) -> Tensor:
    return g[..., :-1] if isinstance(group, Affine) else g


def _reflection(group: Group, g: Tensor, where_negative: Tensor, component: Component, where: str) -> Tensor:
    one = group.identity(tuple(g.shape[:-2]), dtype=g.dtype, device=g.device)
    other = one.clone()
    fixes_ones = isinstance(group, Orthogonal) and group.fixes_ones
    if component == "flip" and not fixes_ones:  # a sign moves the ones, a transposition does not
        other[..., 0, 0] = -1
    elif group.n == 1:
        raise ValueError(
            f"{where}: one coordinate cannot be permuted (Proposition 3.3.2 needs h >= 2); got {group.name}; "
            'choose component="flip".'
        )
    else:
        other[..., :2, :2] = other[..., :2, :2].flip(-2)
    return torch.where(where_negative[..., None, None], other, one)


def _apart(where: str, group: Group, what: str) -> str:
    return (
        f"{where}: a curve along the group stays in one of its components; got {what} of {group.name}, which is not in "
        'that of the identity; pass component="permute" or "flip", and the curve starts at the point so moved.'
    )
