"""A data-dependent symmetry of a subnetwork as one of the whole network: its velocity, and its action."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.discovery._symmetry import DiscoveredSymmetry, Field
from isoloss.discovery.extension._place import Places, submodule
from isoloss.discovery.extension._watch import AsData, inputs_of


class Code:
    """A model of which the forward pass is wanted, and not the values.

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
        small: The velocity of the small network.
        moving: Its parameters that move.
        places: Where its tensors lie in the large network.
        code: The large network, of which only the code is run; its values stand in for tensors that are not given.
        path: Of the submodule whose inputs are the data; None for a velocity that needs no data.
        as_data: Its inputs as the data that the small network's velocity takes.

    References:
        Dissertation, Prop. 6.4.1, differentiated at the identity.
    """

    small: Field = field(repr=False)
    moving: tuple[str, ...]
    places: Places
    code: Code = field(repr=False)
    path: str | None
    as_data: AsData = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of the large network that move."""
        return tuple(dict.fromkeys(self.places[name].parameter for name in self.moving))

    def inputs(self, tensors: Mapping[str, Tensor], data: Any) -> tuple[Any, frozenset[str]]:
        """h(theta_1, X), and the names of the tensors that it reads."""
        if self.path is None:
            return None, frozenset()
        model = self.code.model
        (args, kwargs), read = inputs_of(submodule(model, self.path), model, tensors, data)
        return self.as_data(*args, **kwargs), read

    def along(self, c: Tensor, tensors: Mapping[str, Tensor], inputs: Any) -> dict[str, Tensor]:
        """The velocity along the coefficients c, by name, where h is known.

        Raises:
            ValueError: If the small network's velocity has other shapes than the parameters have here.
        """
        small = {
            name: place.block.read(tensors[place.parameter])
            for name, place in self.places.items()
            if place.parameter in tensors
        }
        velocity = self.small(c, small, inputs)
        found = {name: torch.zeros_like(tensors[name]) for name in self.names}
        for name in self.moving:
            place, v = self.places[name], velocity[name]
            if v.shape != small[name].shape:
                raise ValueError(
                    f"extend: a parameter must have the shape that the symmetry was found for; got "
                    f"{tuple(small[name].shape)} in {place.parameter} for {name} of shape {tuple(v.shape)}; "
                    "extend to a place of that shape."
                )
            found[place.parameter] = place.block.replaced(found[place.parameter], v)
        return found

    def __call__(self, c: Tensor, tensors: dict[str, Tensor], data: Any) -> dict[str, Tensor]:
        """The velocity along the coefficients c, by name."""
        return self.along(c, tensors, self.inputs(tensors, data)[0])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ExtendedSymmetry(DiscoveredSymmetry):
    r"""A data-dependent symmetry of a large network that is one of a subnetwork.

    .. math:: a'_X(g, (\theta_1, \theta_2)) = (\theta_1,\; a_{h(\theta_1, X)}(g, \theta_2))

    h does not depend on what moves, and is therefore run once for a whole curve.

    References:
        Dissertation, Prop. 6.4.1.
    """

    field: ExtendedField

    def _velocity(
        self, c: Tensor, tensors: Mapping[str, Tensor]
    ) -> tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], dict[str, Tensor]]:
        start = self._start(tensors)
        like = next(iter(start.values()))
        fixed = {name: tensors[name].to(like.dtype) for name in self.given}
        inputs, _ = self.field.inputs(fixed | start, self._data(like))
        at_inputs = DiscoveredSymmetry(
            group=self.group, field=self.field.along, names=self.names, given=self.given, data=inputs
        )
        return at_inputs._velocity(c, tensors)


def extended_symmetry(
    symmetry: DiscoveredSymmetry, places: Places, model: nn.Module, path: str, as_data: AsData, data: Any
) -> ExtendedSymmetry:
    """The symmetry of the large network, on its inputs, not yet measured."""
    depends = symmetry.data is not None
    field = ExtendedField(
        symmetry.field, symmetry.names, places, Code(model), path if depends else None, as_data
    )
    own = {name: t.detach() for name, t in [*model.named_parameters(), *model.named_buffers()]}
    with torch.no_grad():
        _, read = field.inputs(own, data)
    read |= {places[name].parameter for name in symmetry.given}
    return ExtendedSymmetry(
        group=symmetry.group,
        field=field,
        names=field.names,
        given=tuple(name for name in own if name in read and name not in field.names),
        data=data if depends else None,
        steps=symmetry.steps,
        family=symmetry.family,
        exact=symmetry.exact,
    )
