"""Curves between two points of an orbit, and from one point along a group element."""

from collections.abc import Sequence

from torch import Tensor, nn

from isoloss.connect._dependent_curve import DependentCurve, dependent
from isoloss.connect._factors import Component
from isoloss.connect._find import find_group_element
from isoloss.connect._orbit_curve import OrbitCurve, along
from isoloss.connect._parameters import Parameters, pair_of, tensors_of
from isoloss.dependent import DependentAction
from isoloss.symmetry import Symmetries
from isoloss.teleport.curves import LayerPair, layer_pairs


def curve(
    a: Parameters,
    b: Parameters,
    symmetries: Symmetries,
    *,
    component: Component = "same",
    tolerance: float | None = None,
) -> OrbitCurve:
    r"""The curve of constant loss between two points of one orbit.

    .. math:: \gamma(t) = \exp(t \log g) \cdot a, \qquad g \cdot a = b

    Args:
        a: A model, or tensors by name.
        b: One of the same architecture, on the orbit of the first.
        symmetries: What acts, as `isoloss.find` returns it.
        component: "same" refuses an element outside the component of the identity. "permute" and "flip" start the
            curve at a point that a permutation, or a change of sign, has moved there; permutations and signs that the
            element holds are then made at the start as well.
        tolerance: Of `find_group_element`.

    Raises:
        ValueError: If the points are not of one architecture, or not found to be on one orbit, or in different
            components of it.

    References:
        Dissertation, Eq. (3.5), Lemma 3.3.1 and Proposition 3.3.2.
    """
    found = find_group_element(a, b, symmetries, tolerance=tolerance)
    if not found:
        raise ValueError(
            f"curve: both points must lie on one orbit of the symmetries; got a relative distance of "
            f"{found.residual:.2g} after the best element that was found; "
            "join other points by connect.Line, or by connect.level_path, which needs no symmetry."
        )
    one, _ = pair_of("curve", a, b)
    return along(one, symmetries, found.elements, component, "curve")


def orbit_curve(
    model: Parameters,
    symmetries: Symmetries | Sequence[LayerPair] | None,
    elements: Sequence[Tensor | None],
    *,
    component: Component = "same",
    action: DependentAction | None = None,
    inputs: Tensor | None = None,
) -> OrbitCurve | DependentCurve:
    r"""The curve of constant loss from a point along group elements.

    .. math:: \gamma(t) = \exp(t \log g) \cdot w

    Along a discovered symmetry it is the flow of its fields, and the loss is constant as far as the symmetry holds:
    `profile` measures it.

    Args:
        model: w: a model, or tensors by name.
        symmetries: What acts. With an action GL acts on the pairs of layers that
            `isoloss.teleport.curves.layer_pairs` reads off the symmetries, or off the model if they are None; pairs of
            your own may stand here.
        elements: g: one element per symmetry, or one matrix per pair of layers; None moves nothing.
        component: As in `curve`.
        action: A data-dependent action, such as `isoloss.dependent.Frame()`.
        inputs: The batch that it depends on.

    Raises:
        ValueError: If an element is none, or outside the component of the identity; if an action has no batch.

    References:
        Dissertation, Eqs. (3.5) and (3.6).
    """
    where = "orbit_curve"
    point = tensors_of(where, model)
    if action is None:
        if not isinstance(symmetries, Symmetries):
            raise ValueError(
                f"{where}: symmetries must be what isoloss.find returns; got {type(symmetries).__name__}; "
                "for pairs of layers choose an action, such as action=isoloss.dependent.Frame()."
            )
        return along(point, symmetries, elements, component, where)
    if isinstance(symmetries, Sequence) and not isinstance(symmetries, Symmetries):
        pairs = list(symmetries)
    elif inputs is None:
        raise ValueError(
            f"{where}: a data-dependent action keeps the outputs of one batch; got no inputs; "
            "pass inputs=..., the batch as the model takes it."
        )
    elif isinstance(symmetries, Symmetries):
        pairs = layer_pairs(symmetries.bind(model) if isinstance(model, nn.Module) else symmetries, inputs)
    elif isinstance(model, nn.Module):
        pairs = layer_pairs(model, inputs)
    else:
        raise ValueError(
            f"{where}: a data-dependent action needs the model, to run it; got tensors; "
            "pass the model, its symmetries, or pairs of layers: isoloss.teleport.curves.LayerPair."
        )
    return dependent(point, pairs, elements, action, component, where)
