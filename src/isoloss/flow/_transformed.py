"""How a group element moves the conserved quantities."""

from collections.abc import Mapping

from torch import Tensor

from isoloss.flow._quantity import Quantity
from isoloss.symmetry import Symmetry

Tensors = Mapping[str, Tensor]


def transformed(symmetry: Symmetry, g: Tensor, m: Tensor, tensors: Tensors) -> Tensor:
    r"""The quadratic form of the moved generator here; equal to that of the generator itself at the moved point.

    .. math:: Q_M(g \cdot \theta) = Q_{g^T M g}(\theta) = \langle \theta,\; g^T (M \cdot (g \cdot \theta)) \rangle

    The matrix :math:`g^T M g` acts on all parameters. It is a generator of the group again only if g is orthogonal:
    in general the form that it gives is conserved at no other point than here, and Q at the moved point is no function
    of Q alone.

    Args:
        symmetry: A linear one, whose elements do not translate.
        g: Element, shape (*batch, *element_shape).
        m: Algebra element M, shape (*batch, *algebra_shape).
        tensors: The parameters.

    Returns:
        One number.

    Raises:
        ValueError: If the action is not linear.

    References:
        Dissertation, section 2.5, and its footnote 8. Differs: the footnote says that :math:`g^T M g` lies in the
        algebra in the examples considered; it does not for the scalings and GL of Examples 2.5.3 and 2.5.4.
    """
    quantity = Quantity(symmetry.name, symmetry)
    if not symmetry.linear or bool(quantity.translations.any()):
        raise ValueError(
            f"transformed: the action must be linear; got {symmetry.name}; "
            "evaluate the quantity at symmetry.act(g, tensors) instead."
        )
    moved = dict(tensors) | symmetry.act(g, tensors)
    velocity = symmetry.generator(m, moved)
    # Gradients move by g^-T, hence by g^T under the inverse.
    back = symmetry.transport(symmetry.group.inverse(g), velocity)
    return sum(((back.get(n, velocity[n]) * tensors[n]).sum() for n in velocity), start=g.new_zeros(()))
