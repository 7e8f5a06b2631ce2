"""Vector fields written by hand, each with a network whose loss they keep: what a discovery would find, exactly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from isoloss.discovery import DiscoveredSymmetry
from isoloss.groups import Translation

Tensors = dict[str, Tensor]
SEEN = ("0.weight", "0.bias", "2.weight", "2.bias")


@dataclass(frozen=True)
class Case:
    """A symmetry, the model that it belongs to, and the loss per sample that it keeps on its data."""

    symmetry: DiscoveredSymmetry
    model: nn.Module
    loss: Callable[[Tensors, Any], Tensor]

    @property
    def tensors(self) -> Tensors:
        return {n: p.detach() for n, p in self.model.named_parameters()}

    @property
    def data(self) -> Any:
        return self.symmetry.data

    def mean(self) -> Tensor:
        """The loss of the model on the data of the symmetry."""
        return self.loss(dict(self.model.named_parameters()), self.data).mean()


def network(activation: nn.Module, dtype=torch.float64) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2)).to(dtype)


def batch(n: int = 3, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, dtype=dtype), torch.randn(n, 2, dtype=dtype)


def squared(model: nn.Module) -> Callable[[Tensors, Any], Tensor]:
    """The squared error of each sample, as a function of parameters and data."""
    return lambda w, data: (functional_call(model, w, (data[0],)) - data[1]).square().sum(-1)


def rescaling(c: Tensor, w: Tensors, data: Any) -> Tensors:
    """Every hidden unit of a ReLU network grows on one side and shrinks on the other: k commuting fields."""
    return {
        "0.weight": c[:, None] * w["0.weight"],
        "0.bias": c * w["0.bias"],
        "2.weight": -c * w["2.weight"],
    }


def rescaled() -> Case:
    """The textbook symmetry as fields; its flow is known in closed form."""
    model = network(nn.ReLU())
    names = ("0.weight", "0.bias", "2.weight")
    symmetry = DiscoveredSymmetry(Translation(4), field=rescaling, names=names, data=batch())
    return Case(symmetry, model, squared(model))


@dataclass(frozen=True)
class Tangent:
    """Fixed directions, projected on the null space of the Jacobian of the losses on the data.

    They depend on the data, do not commute, and are tangent to the level set at every point.
    """

    loss: Callable[[Tensors, Any], Tensor]
    directions: Tensor  # (k, p)

    def __call__(self, c: Tensor, w: Tensors, data: Any) -> Tensors:
        blocks = jacrev(lambda w: self.loss(w, data))(w)
        rows = torch.cat([blocks[n].reshape(-1, w[n].numel()) for n in w], 1)
        v = c @ self.directions.to(c)
        v = v - rows.mT @ torch.linalg.solve(rows @ rows.mT, rows @ v)
        return named(v, w)


def named(v: Tensor, like: Tensors) -> Tensors:
    parts = v.split([x.numel() for x in like.values()])
    return {n: part.reshape(x.shape) for (n, x), part in zip(like.items(), parts, strict=True)}


def tangent(k: int = 3) -> Case:
    """A tanh network, which has no continuous symmetry at all, on three samples."""
    model = network(nn.Tanh())
    p = sum(x.numel() for x in model.parameters())
    field = Tangent(squared(model), torch.randn(k, p, dtype=torch.float64))
    symmetry = DiscoveredSymmetry(Translation(k), field=field, names=SEEN, data=batch())
    return Case(symmetry, model, field.loss)


def astray(k: int = 3) -> Case:
    """The control: directions that know nothing of the loss."""
    case = tangent(k)
    directions = torch.randn(k, 26, dtype=torch.float64)

    def field(c: Tensor, w: Tensors, data: Any) -> Tensors:
        return named(c @ directions.to(c), w)

    symmetry = DiscoveredSymmetry(Translation(k), field=field, names=SEEN, data=case.data)
    return Case(symmetry, case.model, case.loss)
