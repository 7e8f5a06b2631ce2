"""Two adjacent layers and what lies between them, on the batch that reaches them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss.dependent import Layer
from isoloss.teleport._places import everywhere, places
from isoloss.teleport.curves._between import elementwise, expanded, leading, through
from isoloss.teleport.curves._leibniz import Series

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class LayerPair:
    r"""The two layers :math:`U f(V X)` of a network, on a batch.

    The columns of X are samples, for a linear layer, or patches, for a convolution. A bias of the first is the last
    column of V, and X then ends in a row of ones (dissertation, below Eq. 4.11); that of the second is the last
    column of U.

    Attributes:
        model: The network.
        inputs: The batch, as the model takes it.
        incoming: Name of the layer V, an nn.Linear or a convolution without groups.
        outgoing: Name of the layer U, another one.
        activation: What lies between. An nn.Sequential may hold any modules without parameters: activations, pooling,
            flattening. Anything else is taken to be an elementwise function. None takes what the model computes there,
            at the price of runs of the model for every derivative.
        inverse: The inverse of the activation, needed by `InverseCurve.at` only.
    """

    model: nn.Module = field(repr=False)
    inputs: Tensor = field(repr=False)
    incoming: str
    outgoing: str
    activation: Callable[[Tensor], Tensor] | None
    inverse: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        first, second = (self.model.get_submodule(name) for name in (self.incoming, self.outgoing))
        fits = Layer.suits(first) and Layer.suits(second)
        if not fits or second.weight.shape[1] % first.weight.shape[0]:  # type: ignore[union-attr, operator, index]
            raise ValueError(
                "LayerPair: the layers must be linear or convolutions without groups, the second as wide as the "
                f"first; got {first} and {second}; choose two layers with only an activation between them."
            )

    @property
    def width(self) -> int:
        """The hidden width h: channels, for a convolution."""
        return self._layer(self.incoming).weight.shape[0]

    @property
    def elementwise(self) -> Callable[[Tensor], Tensor] | None:
        """The activation, if it comes first and nothing but pooling by means and flattening follows; else None."""
        return leading(self.activation)

    def read(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """The matrices U (m, H), V (h, n) and X (n, k), with these parameters: the first layers of one forward pass.

        In float64, because activations are inverted, whose condition number is easily that of float32.
        """
        u, v = (self._matrix(tensors, name) for name in (self.outgoing, self.incoming))
        x, _ = self._reaching(tensors)
        return u.double(), v.double(), self._layer(self.incoming).columns(x).double()

    def units(self, z: Series, tensors: Tensors) -> Series:
        """The columns that U reads, and their derivatives, from those of VX; a row of ones if U has a bias.

        Args:
            z: The product VX, shape (h, k), and its derivatives.
            tensors: Parameters by name; absent ones are the model's own.
        """
        shape, reader = self._shape, self._layer(self.outgoing)
        images = [self._layer(self.incoming).image(x, shape) for x in z]
        if self.activation is None:
            images = expanded(lambda image: self._between(image, tensors), images)
        elif isinstance(self.activation, nn.Sequential):
            images = through(self.activation, images)
        else:
            images = elementwise(self.activation, images)
        first, *others = (reader.columns(x) for x in images)
        if reader.bias is not None:
            others = [torch.cat([x[:-1], torch.zeros_like(x[-1:])]) for x in others]
        return [first, *others]

    def write(self, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        """The matrices, or their derivatives, as parameters by name; U with the column of the bias or without.

        They keep the dtype of the matrices.
        """
        named = {}
        for name, matrix in ((self.incoming, v), (self.outgoing, u)):
            weight = self._layer(name).weight
            n = weight[0].numel()
            named[_called(name, "weight")] = matrix[:, :n].reshape(weight.shape)
            if matrix.shape[1] != n:
                named[_called(name, "bias")] = matrix[:, -1]
        return named

    def _layer(self, name: str) -> Layer:
        return Layer(name, self.model.get_submodule(name))

    def _matrix(self, tensors: Tensors, name: str) -> Tensor:
        layer = self._layer(name)
        weight = tensors.get(_called(name, "weight"), layer.weight).flatten(1)
        if layer.bias is None:
            return weight
        return torch.cat([weight, tensors.get(_called(name, "bias"), layer.bias)[:, None]], 1)

    @cached_property
    def _shape(self) -> torch.Size:
        """Shape of the outputs of the first layer; it does not depend on the parameters."""
        with torch.no_grad():
            return self._reaching(dict(self.model.named_parameters()))[1]

    def _reaching(self, tensors: Tensors) -> tuple[Tensor, torch.Size]:
        """The inputs of the first layer, and the shape of its outputs."""

        def stop(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            raise _ReachedError(args[0], output.shape)

        return self._stopped(tensors, self.model.get_submodule(self.incoming).register_forward_hook(stop))

    def _between(self, image: Tensor, tensors: Tensors) -> Tensor:
        """The inputs of the second layer, from the outputs of the first."""

        def replace(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return image.to(output)

        def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            raise _ReachedError(args[0], args[0].shape)

        handle = self.model.get_submodule(self.incoming).register_forward_hook(replace)
        try:
            last = self.model.get_submodule(self.outgoing).register_forward_pre_hook(stop)
            return self._stopped(tensors, last)[0].to(image)
        finally:
            handle.remove()

    def _stopped(self, tensors: Tensors, handle) -> tuple[Tensor, torch.Size]:
        """Run the model until a hook has seen enough."""
        try:
            functional_call(
                self.model, everywhere(tensors, places(self.model)), (self.inputs,), tie_weights=False
            )
        except _ReachedError as reached:
            return reached.x, reached.shape
        finally:
            handle.remove()
        raise ValueError(
            f"LayerPair: the model must run {self.incoming} and {self.outgoing}; got a pass without; "
            "choose other layers."
        )


def powers(m: Tensor, x: Tensor, order: int) -> list[Tensor]:
    """The products m x, m^2 x and so on: the derivatives of exp(t m) x."""
    found = []
    for _ in range(order):
        x = m @ x
        found.append(x)
    return found


def _called(layer: str, kind: str) -> str:
    return f"{layer}.{kind}" if layer else kind


class _ReachedError(Exception):
    def __init__(self, x: Tensor, shape: torch.Size):
        super().__init__()
        self.x, self.shape = x, shape
