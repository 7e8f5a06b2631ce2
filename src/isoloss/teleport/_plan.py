"""Which symmetries a teleport may use, worked out once and again only when the optimizer's parameters change."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.optim import Optimizer

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._loss import Loss
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings


@dataclass(frozen=True)
class Plan:
    """What moves, and what is known of it before any gradient is.

    Attributes:
        symmetries: Those that are used.
        left_out: For each of the others that the optimizer forbids, why.
        tensors: Parameters that the optimizer trains, and buffers that move, by name.
        groups: For every parameter the optimizer's group that it is in, by position.
        signature: Changes when the plan must be made anew.
    """

    symmetries: tuple[Symmetry, ...]
    left_out: tuple[str, ...]
    tensors: dict[str, Tensor]
    groups: dict[str, int]
    signature: tuple

    @classmethod
    def of(
        cls,
        optimizer: Optimizer,
        symmetries: Symmetries,
        named: Mapping[str, Tensor],
        wanted: Callable[[Symmetry], bool],
    ) -> "Plan":
        """Choose among the symmetries; `named` holds the parameters and buffers of the model.

        Raises:
            ValueError: If a parameter has no data, or only a part of it here.
        """
        for name, t in named.items():
            if t.is_meta or hasattr(t, "device_mesh"):
                raise ValueError(
                    f"Teleport: parameters must be plain tensors with data; got a {_sort(t)} for {name}; "
                    "materialize the model, and move it before it is sharded."
                )
        group_of = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
        groups = {name: group_of[id(t)] for name, t in named.items() if id(t) in group_of and t.requires_grad}
        used, left_out = [], []
        for symmetry in filter(wanted, symmetries):
            reasons = [r for n in symmetry.parameters if (r := _forbidden(n, named, group_of))]
            if reasons:
                left_out.append(f"{symmetry.name} ({reasons[0]})")
            else:
                used.append(symmetry)
        buffers = {n for s in used for n in s.parameters if n not in groups}
        reads = {n for s in used for n in s.reads}
        tensors = {name: named[name] for name in (*groups, *sorted(buffers | (reads - groups.keys())))}
        return cls(tuple(used), tuple(left_out), tensors, groups, signature(optimizer))

    @cached_property
    def scalings(self) -> Scalings:
        """All scalings among the symmetries."""
        moving = {n: self.tensors[n] for s in self.symmetries for n in s.parameters}
        wide = any(t.dtype == torch.float64 for t in self.tensors.values())
        return Scalings(
            self.symmetries,
            {n: tuple(t.shape) for n, t in moving.items()},
            next((t.device for t in (moving or self.tensors).values()), None),
            torch.float64 if wide else torch.float32,
        )

    def point(self, optimizer: Optimizer, where: str, loss: Loss | None = None) -> Point:
        """The parameters, gradients, learning rates and the optimizer's state now.

        Raises:
            ValueError: If a gradient is sparse.
        """
        tensors = {name: t.detach() for name, t in self.tensors.items()}
        gradients = {n: g.detach() for n in self.groups if (g := self.tensors[n].grad) is not None}
        for name, g in gradients.items():
            if g.layout != torch.strided:
                raise ValueError(
                    f"{where}: gradients must be dense; got {g.layout} for {name}; use Embedding(sparse=False)."
                )
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        return Point(
            tensors,
            gradients,
            {name: rates[i] for name, i in self.groups.items()},
            loss,
            {name: s for name in self.groups if (s := optimizer.state.get(self.tensors[name]))},
            {name: optimizer.param_groups[i] for name, i in self.groups.items()},
        )


def signature(optimizer: Optimizer) -> tuple:
    """Everything about the optimizer's parameters that a plan depends on."""
    return tuple(
        (id(p), p.requires_grad, p.dtype, p.device)
        for group in optimizer.param_groups
        for p in group["params"]
    )


def _sort(t: Tensor) -> str:
    return "meta tensor" if t.is_meta else "distributed tensor"


def _forbidden(name: str, named: Mapping[str, Tensor], group_of: Mapping[int, int]) -> str | None:
    tensor = named[name]
    if isinstance(tensor, torch.nn.Parameter):
        if not tensor.requires_grad:
            return f"{name} is frozen"
        if id(tensor) not in group_of:
            return f"{name} is not in the optimizer"
    if not tensor.is_floating_point():
        return f"{name} is {tensor.dtype}"
    return None
