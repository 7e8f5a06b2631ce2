"""Exact symmetries as actions on an optimizee."""

from collections.abc import Callable

from torch import Tensor

from isoloss.learn._tensors import Tensors
from isoloss.symmetry import Symmetry


class Exact:
    r"""A continuous symmetry of the optimizee: what it computes stays the same on all inputs.

    .. math:: f(g \cdot w, x) = f(w, x) \quad \text{for all } x

    Args:
        symmetry: Whose parameters are names of the optimizee's weights; `isoloss.find` reports some, and others can
            be written down as slots.
        units: From weights and data to the activations of the hidden units whose basis the group changes, (h, k);
            None if there are none, or if no direction is to look at them.

    Raises:
        ValueError: If the group is discrete, or the symmetry was discovered on some data.

    References:
        Dissertation, Section 5.5 (teleportation by an exact symmetry within a learned optimizer).
    """

    def __init__(self, symmetry: Symmetry, units: Callable[[Tensors, Tensors], Tensor] | None = None):
        if symmetry.group.dim == 0:
            raise ValueError(
                "Exact: the group must be continuous, for its elements are learned through its algebra; "
                f"got {symmetry.name}; leave discrete symmetries out."
            )
        if symmetry.whole:
            raise ValueError(
                "Exact: the symmetry must hold on all inputs; got "
                f"{symmetry.name} ({symmetry.family}), which holds on some data; teleport along it by isoloss.Teleport."
            )
        self.symmetry = symmetry
        self.name = symmetry.name
        self.group = symmetry.group
        self.batch = symmetry.batch
        self.parameters = symmetry.parameters
        self._units = units

    def act(self, g: Tensor, parameters: Tensors, data: Tensors) -> Tensors:
        """See `Action`; the data are not read."""
        return self.symmetry.act(g, parameters)

    @property
    def sees_units(self) -> bool:
        """Was it told which units the group acts on?"""
        return self._units is not None

    def units(self, parameters: Tensors, data: Tensors) -> Tensor | None:
        """See `Action`."""
        return None if self._units is None else self._units(parameters, data)

    def __repr__(self) -> str:
        return f"Exact({self.symmetry!r})"
