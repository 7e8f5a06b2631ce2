"""What follows the last layer of a model, up to the loss, with its derivatives."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from isoloss.dependent._given import Given, replaced
from isoloss.dependent._layer import Layer
from isoloss.dependent._passes import Closure

Run = Callable[[Closure], Tensor]
WHERE = "dependent.Chain"


class Head:
    """The loss as a function of the outputs of the last layer.

    The closure runs with those outputs put in the place of the model: nothing below is computed.

    Args:
        model: The model.
        closure: Runs it and returns the loss.
        run: Runs closures.
        layer: The last layer.
        outputs: Its outputs, for their shape and dtype.
        tail: The modules that follow it in the model; None if something else happens there, and the model must run.
        given: The model with layers that compute nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        closure: Closure,
        run: Run,
        layer: Layer,
        outputs: Tensor,
        tail: nn.Sequential | None,
        given: Given,
    ):
        self._model, self._closure, self._run = model, closure, run
        self._layer, self._tail, self._given = layer, tail, given
        self._shape, self._dtype = outputs.shape, outputs.dtype
        self._unchecked = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def at(self, rows: Tensor, twice: bool = True) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """The loss, its gradient by rows, and, if twice, its Hessian as a map from rows to rows.

        Raises:
            ValueError: If the loss has no graph, or depends on parameters by another way than the outputs; that is
                asked the first time.
        """
        z, loss = self._run_at(rows)
        if not loss.requires_grad:
            raise ValueError(
                f"{WHERE}: the loss must be a differentiable function of the outputs of the model; got a value without "
                "a graph; return it outside of no_grad, and without detach() or item()."
            )
        asked = [z, *self._unchecked.values()]
        gradient, *others = torch.autograd.grad(loss, asked, create_graph=twice, allow_unused=True)
        if used := [n for n, g in zip(self._unchecked, others, strict=True) if g is not None]:
            raise ValueError(
                f"{WHERE}: the loss must depend on the parameters through the outputs of the last layer only; it also "
                f"uses {used[0]}; leave penalties on weights to the optimizer."
            )
        self._unchecked = {}
        if gradient is None:
            gradient = torch.zeros_like(z)

        def hessian(tangent: Tensor) -> Tensor:
            if not gradient.requires_grad:
                return torch.zeros_like(tangent)
            along = self._layer.image(tangent, self._shape)
            found = torch.autograd.grad(gradient, z, along, retain_graph=True, allow_unused=True)[0]
            return torch.zeros_like(tangent) if found is None else self._layer.rows(found)

        return loss.detach(), self._layer.rows(gradient.detach()).contiguous(), hessian

    @torch.enable_grad()
    def _run_at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        z = self._layer.image(rows, self._shape).detach().contiguous().requires_grad_()
        if self._tail is None:
            return z, self._given.loss({self._layer.module: z})
        used, tail = [], self._tail

        def instead(*args, **kwargs):
            used.append(True)
            return tail(z.to(self._dtype, copy=True))

        with replaced({self._model: instead}):
            loss = self._run(self._closure)
        if len(used) != 1:
            raise ValueError(
                f"{WHERE}: the loss must call the model, uncompiled, exactly once; it did so {len(used)} times."
            )
        return z, loss
