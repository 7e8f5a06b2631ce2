"""The curvature of a curve in any number of dimensions, and how it changes along the curve."""

from collections.abc import Mapping

import torch
from torch import Tensor

from isoloss.teleport._derivatives import inner

Tensors = Mapping[str, Tensor]


def curvature(first: Tensors, second: Tensors) -> Tensor:
    r"""The curvature from the first two derivatives.

    .. math:: \kappa = \frac{[\lVert\gamma'\rVert^2 \lVert\gamma''\rVert^2 - (\gamma' \cdot \gamma'')^2]^{1/2}}
        {\lVert\gamma'\rVert^3}

    Differs: computed as the length of the part of :math:`\gamma''` across :math:`\gamma'`, over
    :math:`\lVert\gamma'\rVert^2`, which is the same and loses no digits where the two are nearly parallel.

    Args:
        first: :math:`\gamma'`, by name; not zero.
        second: :math:`\gamma''`.

    Returns:
        A tensor of no dimension; it does not change when time runs faster.

    References:
        Zhao et al. (2024), Eq. (39); dissertation, section 5.2.2.
    """
    square = inner(first, first)
    return _length(_across(first, second)) / square


def curvature_rate(first: Tensors, second: Tensors, third: Tensors) -> Tensor:
    r"""The derivative of the curvature by time.

    .. math:: \kappa' = \frac{\lVert\gamma'\rVert^2 (\gamma'' \cdot \gamma''') - (\gamma' \cdot \gamma'')
        (\gamma' \cdot \gamma''')}{\lVert\gamma'\rVert^4\, \lVert\gamma''_\perp\rVert\,}
        - 3 \kappa \frac{\gamma' \cdot \gamma''}{\lVert\gamma'\rVert^2}

    Args:
        first: :math:`\gamma'`, by name; not zero.
        second: :math:`\gamma''`, not parallel to it: a straight curve has a corner of the curvature.
        third: :math:`\gamma'''`.

    References:
        Zhao et al. (2024), Eqs. (40) to (43).
    """
    square, along = inner(first, first), inner(first, second)
    across = _across(first, second)
    length = _length(across)
    # The bracket of Eq. (43), divided by the square: the product of the third derivative and what is across.
    return inner(across, third) / (square * length) - 3 * length * along / square.square()


def _across(first: Tensors, second: Tensors) -> dict[str, Tensor]:
    ratio = inner(first, second) / inner(first, first)
    return {n: x - ratio.to(x) * first[n] for n, x in second.items()}


def _length(x: Tensors) -> Tensor:
    home = next(iter(x.values())).device
    # A norm of norms: at zero its derivative is zero, where that of a square root is not a number.
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v).to(home) for v in x.values()]))
