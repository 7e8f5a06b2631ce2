"""Two adjacent linear layers with an activation between them, and the batch that reaches them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss.teleport._places import everywhere, places

Tensors = Mapping[str, Tensor]

ELEMENTWISE = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Identity,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.ReLU,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
)


@dataclass(frozen=True)
class LayerPair:
    r"""The two layers :math:`U \sigma(V X)` of a network, on a batch.

    A bias of the first is the last column of V, and X then ends in a row of ones (dissertation, below Eq. 4.11); that
    of the second is the last column of U.

    Attributes:
        model: The network.
        inputs: The batch, as the model takes it.
        incoming: Name of the layer V, an nn.Linear.
        outgoing: Name of the layer U, an nn.Linear.
        activation: The elementwise function between them.
        inverse: Its inverse, needed by `InverseCurve.at` only.
    """

    model: nn.Module = field(repr=False)
    inputs: Tensor = field(repr=False)
    incoming: str
    outgoing: str
    activation: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        first, second = (self.model.get_submodule(name) for name in (self.incoming, self.outgoing))
        fits = isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        if not fits or first.out_features != second.in_features:
            raise ValueError(
                f"LayerPair: the layers must be nn.Linear, the second as wide as the first; got {first} and {second}; "
                "choose two layers with only an activation between them."
            )

    @property
    def width(self) -> int:
        """The hidden width h."""
        return self.model.get_submodule(self.incoming).out_features  # type: ignore[return-value]

    def read(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """The matrices U (m, h), V (h, n) and X (n, k), with these parameters: the first layers of one forward pass."""
        u, v = (self._matrix(tensors, name) for name in (self.outgoing, self.incoming))
        x = self._reaching(tensors).flatten(0, -2).mT
        return u, v, x if v.shape[1] == x.shape[0] else torch.cat([x, x.new_ones(1, x.shape[1])])

    def write(self, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        """The matrices, or their derivatives, as parameters by name; U with the column of the bias or without."""
        named = {}
        for name, matrix in ((self.incoming, v), (self.outgoing, u)):
            n = self.model.get_submodule(name).in_features
            named[f"{name}.weight"] = matrix[:, :n]
            if matrix.shape[1] != n:
                named[f"{name}.bias"] = matrix[:, -1]
        return named

    @staticmethod
    def _matrix(tensors: Tensors, name: str) -> Tensor:
        weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
        return weight if bias is None else torch.cat([weight, bias[:, None]], 1)

    def _reaching(self, tensors: Tensors) -> Tensor:
        def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            raise _ReachedError(args[0])

        hook = self.model.get_submodule(self.incoming).register_forward_pre_hook(stop)
        try:
            functional_call(
                self.model, everywhere(tensors, places(self.model)), (self.inputs,), tie_weights=False
            )
        except _ReachedError as reached:
            return reached.x
        finally:
            hook.remove()
        raise ValueError(
            f"LayerPair: the model must run {self.incoming}; got a pass without it; choose another layer."
        )


def powers(m: Tensor, x: Tensor, order: int) -> list[Tensor]:
    """The products m x, m^2 x and so on: the derivatives of exp(t m) x."""
    found = []
    for _ in range(order):
        x = m @ x
        found.append(x)
    return found


def layer_pairs(model: nn.Module, inputs: Tensor) -> list[LayerPair]:
    """Every pair of adjacent linear layers with one elementwise activation between them.

    Args:
        model: An nn.Sequential, nested or not: there what follows what is certain.
        inputs: The batch, as the model takes it.

    Raises:
        ValueError: If the model is no nn.Sequential.
    """
    if not isinstance(model, nn.Sequential):
        raise ValueError(
            f"layer_pairs: the model must be an nn.Sequential; got {type(model).__name__}; "
            "name the layers yourself: LayerPair(model, inputs, incoming, outgoing, activation)."
        )
    chain = list(_flat(model, ""))
    return [
        LayerPair(model, inputs, one, two, activation, _inverse(activation))
        for (one, first), (_, activation), (two, second) in zip(chain, chain[1:], chain[2:], strict=False)
        if isinstance(first, nn.Linear)
        and isinstance(activation, ELEMENTWISE)
        and isinstance(second, nn.Linear)
    ]


def _flat(model: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential):
            yield from _flat(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _inverse(activation: nn.Module) -> Callable[[Tensor], Tensor] | None:
    if isinstance(activation, nn.LeakyReLU) and activation.negative_slope > 0:
        return lambda y: torch.where(y > 0, y, y / activation.negative_slope)
    return activation if isinstance(activation, nn.Identity) else None


class _ReachedError(Exception):
    def __init__(self, x: Tensor):
        super().__init__()
        self.x = x
