"""The second derivatives of a loss at one point: products, the trace, the whole matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole, signature, takes
from isoloss.finding._jacobian import AT_ONCE, Pullback
from isoloss.symmetry import named_tensors
from isoloss.teleport import Loss

# Parameters up to which the whole matrix is made: 800 MB in float64.
DENSE = 10_000


class Hessian:
    r"""The Hessian of a loss over the parameters of a model, at its point or another.

    .. math:: H_{ij} = \frac{\partial^2 L}{\partial w_i\, \partial w_j}

    Coordinates are the entries of the parameters in the order of `names`. Products come from differentiating in
    reverse twice, which every loss allows: torch has no forward rule for the backward of `mse_loss`.

    Args:
        model: The model. It is not changed.
        loss: Returns the loss, a tensor with one number, from a forward pass of the model; over all the data
            that the landscape is meant to be of. Give model and data in float64 where zeros are to be counted.
        at: Parameters and buffers by name, where the point is not the model's own, for instance moved ones.
        names: The parameters to differentiate by; by default all that require gradients.

    Raises:
        ValueError: If the model has no such parameters, or none of the name or shape in `at`; if the loss is no
            differentiable single number, or no function of these parameters; or if something is not finite or in half
            precision.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> Hessian(model, lambda: model(torch.eye(2).double()).square().sum()).dense()
        tensor([[2., 0.],
                [0., 2.]], dtype=torch.float64)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[], Tensor],
        *,
        at: Mapping[str, Tensor] | None = None,
        names: Iterable[str] | None = None,
    ):
        own = dict(model.named_parameters())
        chosen = [n for n, p in own.items() if p.requires_grad] if names is None else list(names)
        _check(own, chosen)
        check_closure(loss, "landscape.Hessian")
        given = {} if at is None else dict(at)
        check_at(model, given, "landscape.Hessian")
        self.tensors = {n: given.get(n, own[n]).detach().clone().requires_grad_() for n in chosen}
        rest = {n: t.detach() for n, t in given.items() if n not in chosen}
        with torch.enable_grad():
            self.loss = Loss(loss, model, where="landscape.Hessian")(rest | self.tensors)
            found = torch.autograd.grad(
                self.loss, list(self.tensors.values()), create_graph=True, allow_unused=True
            )
            if all(g is None for g in found):
                raise ValueError(
                    "landscape.Hessian: loss must depend on the parameters; got a closure that uses none of them; "
                    "call the model that is given, not a copy of it."
                )
            parts = [
                torch.zeros_like(t) if g is None else g
                for g, t in zip(found, self.tensors.values(), strict=True)
            ]
            self._gradient = torch.cat([p.flatten() for p in parts])
        _check_numbers(self.loss, self._gradient)
        self._pullback = Pullback(list(self.tensors.values()), torch.Generator().manual_seed(0))

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of the coordinates."""
        return tuple(self.tensors)

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self._gradient)

    @property
    def gradient(self) -> Tensor:
        """The gradient of the loss, shape (size,)."""
        return self._gradient.detach()

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """The product with a vector, or with the columns of a matrix of shape (size, count)."""
        rows = vectors.reshape(self.size, -1).T.to(self._gradient)
        if not self._gradient.requires_grad:
            return torch.zeros_like(vectors, dtype=rows.dtype)
        some = max(1, AT_ONCE // self.size)
        found = [self._pullback.rows(self._gradient, part) for part in rows.split(some)]
        return torch.cat(found).T.reshape(vectors.shape)

    def dense(self, limit: int = DENSE) -> Tensor:
        """The matrix, symmetric to the last digit.

        Raises:
            ValueError: If it has more rows than the limit.
        """
        if self.size > limit:
            raise ValueError(
                f"landscape.Hessian: the whole matrix is made for up to {limit:,} parameters; got {self.size:,}; "
                "take products, spectrum(..., count=), density, or pass a larger limit."
            )
        h = self @ torch.eye(self.size, dtype=self._gradient.dtype, device=self._gradient.device)
        return (h + h.T) / 2

    def diagonal(self, limit: int = DENSE) -> Tensor:
        """The second derivatives by each coordinate, shape (size,)."""
        return self.dense(limit).diagonal()

    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Tensors by name as one vector of the coordinates; what is absent is zero."""
        parts = [tensors.get(n, torch.zeros_like(t)) for n, t in self.tensors.items()]
        return torch.cat([p.detach().flatten().to(self._gradient) for p in parts])


def _check(own: Mapping[str, Any], chosen: list[str]) -> None:
    if not chosen:
        raise ValueError(
            "landscape.Hessian: there must be parameters that require gradients; got none; "
            "unfreeze some, or name them with names=."
        )
    if unknown := [n for n in chosen if n not in own]:
        raise ValueError(
            f"landscape.Hessian: names must be parameters of the model; got {unknown[0]!r}; "
            f"they are {', '.join(list(own)[:6])}{', ...' if len(own) > 6 else ''}."
        )


def check_closure(loss: Any, where: str) -> None:
    """Refuse what is no function without arguments."""
    if not (callable(loss) and takes(loss, 0)):
        got = str(signature(loss)) if callable(loss) else type(loss).__name__
        raise ValueError(
            f"{where}: loss must be a function without arguments; got {got}; "
            "give lambda: criterion(model(x), y)."
        )


def check_at(model: nn.Module, at: Mapping[str, Tensor], where: str) -> None:
    """Refuse a point that is none of the model."""
    own = named_tensors(model)
    for name, t in at.items():
        if name not in own or t.shape != own[name].shape:
            known = f"{tuple(own[name].shape)} there" if name in own else "nothing of that name"
            raise ValueError(
                f"{where}: at must hold tensors of the model, by name and in its shapes; got "
                f"{name} of shape {tuple(t.shape)}, where the model has {known}; start from model.state_dict()."
            )


def _check_numbers(loss: Tensor, gradient: Tensor) -> None:
    if gradient.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"landscape.Hessian: parameters must be float32 or float64; got {gradient.dtype}; "
            "take a float64 copy of the model and its data."
        )
    if not bool(loss.isfinite() & gradient.isfinite().all()):
        got = f"a loss of {float(loss.detach()):.3g} and a gradient of length {float(gradient.detach().norm()):.3g}"
        raise ValueError(
            f"landscape.Hessian: the loss and its gradient must be finite; got {got}; take another point."
        )


def check_count(name: str, value: object, where: str) -> None:
    """Refuse what is no positive whole number."""
    if not is_whole(value, least=1):
        raise ValueError(
            f"{where}: {name} must be a whole number of at least 1; got {value!r}; leave it out for the default."
        )
