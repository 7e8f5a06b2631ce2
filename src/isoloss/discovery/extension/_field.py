"""The velocity of a data-dependent symmetry of a subnetwork, as one of the whole network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.discovery.extension._place import Places, submodule
from isoloss.discovery.extension._watch import AsData, inputs_of


class Code:
    """A model of which the forward pass is wanted, and not the values; they are no part of what holds it.

    It has no attributes of its own, so that what compares or hashes a field does not see the values change.
    """

    __slots__ = ("model",)

    def __init__(self, model: nn.Module):
        self.model = model

    def __call__(self) -> nn.Module:
        """The model."""
        return self.model


@dataclass(frozen=True)
class ExtendedField:
    r"""The velocity at :math:`(\theta_1, \theta_2)` on data X: that of the small network at :math:`\theta_2` on h.

    .. math:: v'_X(c, \theta_1, \theta_2) = (0,\; v_{h(\theta_1, X)}(c, \theta_2))

    h is run as the model runs it, up to the subnetwork, with the tensors given: differentiable, also in them.

    Attributes:
        symmetry: Of the small network.
        places: Where its parameters lie in the large one.
        code: The large network, of which only the code is run; its values stand in for tensors that are not given.
        path: Of the submodule whose inputs are the data.
        as_data: Its inputs as the symmetry's data.

    References:
        Dissertation, Prop. 6.4.1, differentiated at the identity.
    """

    symmetry: Any
    places: Places
    code: "Code" = field(repr=False)
    path: str
    as_data: AsData = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of the large network that move."""
        return tuple(dict.fromkeys(self.places[name].parameter for name in self.symmetry.names))

    def data(self, tensors: Mapping[str, Tensor], data: Any) -> Any:
        """h(theta_1, X); None if the symmetry needs no data."""
        if self.symmetry.data is None:
            return None
        model = self.code.model
        args, kwargs = inputs_of(submodule(model, self.path), model, tensors, data)
        return self.as_data(*args, **kwargs)

    def small(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the small network, among those of the large one."""
        return {
            name: place.block.read(tensors[place.parameter])
            for name, place in self.places.items()
            if place.parameter in tensors
        }

    def large(self, small: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the large network in which those of the small one have been replaced."""
        found: dict[str, Tensor] = {}
        for name, new in small.items():
            place = self.places[name]
            old = found.get(place.parameter, into[place.parameter])
            found[place.parameter] = place.block.replaced(old, new)
        return found

    def __call__(self, c: Tensor, tensors: Mapping[str, Tensor], data: Any) -> dict[str, Tensor]:
        """The velocity along the coefficients c, by name.

        Raises:
            ValueError: If the symmetry gives velocities of other shapes than the parameters have here.
        """
        small = self.small(tensors)
        velocity = self.symmetry.field(c, small, self.data(tensors, data))
        moved = {name: velocity[name] for name in self.symmetry.names}
        for name, v in moved.items():
            if v.shape != small[name].shape:
                raise ValueError(
                    f"extend: a parameter must have the shape that the symmetry was found for; got "
                    f"{tuple(small[name].shape)} at {self.places[name].parameter} for {name} of shape {tuple(v.shape)}; "
                    "extend to a place of that shape."
                )
        return self.large(moved, {name: torch.zeros_like(tensors[name]) for name in self.names})
