"""The gradient field of a loss in one flat float64 vector."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from math import isfinite
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss._checks import signature, takes

Parameters = Mapping[str, Tensor] | nn.Module
LossOf = Callable[[Any], Tensor]
Rates = Mapping[str, float]


class Field:
    r"""The velocity :math:`-\varepsilon \nabla L` at any parameters, and the loss there.

    Works on copies in float64: whatever happens in between, the tensors or the module given stay as they are.

    Args:
        loss: Returns the loss, a tensor with one number. It is given what `params` is: a dict of named tensors, or
            a copy of the module in float64.
        params: Named tensors, or a module; of a module those move that require gradients.
        rates: The matrix :math:`\varepsilon` as a number per parameter, 1 where there is none.
        where: Name of the caller, for messages.
    """

    def __init__(self, loss: LossOf, params: Parameters, rates: Rates | None, where: str):
        self._where = where
        if not (callable(loss) and takes(loss, 1)):
            got = str(signature(loss)) if callable(loss) else type(loss).__name__
            raise ValueError(
                f"{where}: loss must be a function of the model, or of the named tensors, that the flow moves; got "
                f"{got}; give lambda model: criterion(model(x), y)."
            )
        if not isinstance(params, nn.Module | Mapping):
            raise TypeError(
                f"{where}: params must be a module or named tensors; got {type(params).__name__}; pass the model, or "
                "dict(model.named_parameters())."
            )
        if isinstance(params, nn.Module):
            twin = deepcopy(params).double()
            start = {n: p.detach() for n, p in twin.named_parameters() if p.requires_grad}
            closed = _Closed(loss, twin)
            self._loss = lambda x: functional_call(closed, {f"model.{n}": t for n, t in x.items()}, ())
        else:
            start = {n: t.detach() for n, t in params.items()}
            self._loss = loss
        if not start or not sum(t.numel() for t in start.values()):
            raise ValueError(
                f"{where}: params must hold numbers that may move; got none; pass named tensors, or a module with "
                "parameters that require gradients."
            )
        for name, t in start.items():
            if t.is_complex():
                raise ValueError(
                    f"{where}: params must be real; got {t.dtype} for {name}; give real and imaginary part apart."
                )
            if t.is_meta or not t.isfinite().all():
                raise ValueError(
                    f"{where}: the flow must start at finite parameters; got inf, nan or no values in {name}; "
                    "initialize it first."
                )
        start = {n: t.double() for n, t in start.items()}
        self.shapes = {n: t.shape for n, t in start.items()}
        self.rates = checked_rates(rates, self.shapes, where)
        self.start = torch.cat([t.reshape(-1) for t in start.values()])
        each = [torch.full_like(t.reshape(-1), self.rates[n]) for n, t in start.items()]
        self._rate = torch.cat(each)

    def named(self, y: Tensor) -> dict[str, Tensor]:
        """Vectors ``(*times, size)`` as tensors ``(*times, *shape)`` by name."""
        parts = y.split([s.numel() for s in self.shapes.values()], -1)
        return {n: p.reshape(*y.shape[:-1], *s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and velocity at the vector y.

        Raises:
            ValueError: If the loss is not one number, or does not depend on the parameters.
        """
        y = y.detach().requires_grad_()
        with torch.enable_grad():
            value = self._value(y)
            (slope,) = torch.autograd.grad(value, y)
        return value.detach().double().reshape(()), -self._rate * slope

    def _value(self, y: Tensor) -> Tensor:
        try:
            value = self._loss(self.named(y))
        except RuntimeError as error:
            if "dtype" not in str(error):
                raise
            raise ValueError(
                f"{self._where}: the loss must be computed in float64; got {error}; give it float64 data."
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{self._where}: loss must return a tensor with one number; got {got}; "
                "return the mean over the batch."
            )
        if not value.requires_grad:
            raise ValueError(
                f"{self._where}: loss must be a differentiable function of what it is given; got a value without a "
                "graph; use its argument, not the original parameters."
            )
        return value.reshape(())


class _Closed(nn.Module):
    """The loss as a module that has the model inside, so that its parameters can be replaced by name."""

    def __init__(self, loss: LossOf, model: nn.Module):
        super().__init__()
        self.model = model
        self._loss = (loss,)  # in a tuple: a loss that is a module must not be registered

    def forward(self) -> Tensor:
        return self._loss[0](self.model)


def checked_rates(rates: Rates | None, names: Mapping[str, Any], where: str) -> dict[str, float]:
    """One positive number for every name, 1 by default.

    Raises:
        ValueError: If a rate is not a positive number, or belongs to no parameter.
    """
    rates = dict(rates or {})
    unknown = sorted(rates.keys() - names.keys())
    if unknown:
        raise ValueError(
            f"{where}: rates must belong to parameters that move; got one for {unknown[0]}; "
            f"the parameters are {', '.join(list(names)[:6])}."
        )
    for name, rate in rates.items():
        if not isinstance(rate, Real) or isinstance(rate, bool) or not (isfinite(rate) and rate > 0):
            raise ValueError(
                f"{where}: a rate must be a positive number; got {rate!r} for {name}; hold a parameter fixed by "
                "leaving it out of params."
            )
    return {name: float(rates.get(name, 1.0)) for name in names}
