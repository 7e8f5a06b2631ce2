"""Steps of one model, whose losses and gradients are told from outside."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from isoloss.learn._flat import Layout
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._step import Stepper, Teleported
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action, Exact, element

WHERE = "LearnedOptimizer.step"
Closure = Callable[[], Any]
Loss = Callable[[Tensors, Tensors], Tensor]


class ModelStepper(Stepper):
    """Takes steps of one model: n = 1.

    What a teleport leads to is known for exact symmetries: the loss stays, and the gradient is transported. For others
    it is evaluated, by the loss if there is one, else by the closure, with the weights written into the model.

    Args:
        meta: Chooses the steps.
        parameters: Of the model, by name; written to before the closure is called.
        actions: What teleports the model.
        loss: Of weights and data.
        closure: Returns the loss after backward.
        scale: Factor of the local step of every parameter.

    Attributes:
        elsewhere: Were weights written into the model, for the closure?
    """

    def __init__(
        self,
        meta: MetaOptimizer,
        parameters: Mapping[str, Tensor],
        actions: Sequence[Action],
        loss: Loss | None,
        closure: Closure | None,
        scale: Sequence[float],
    ):
        layout = Layout(tuple((name, tuple(p.shape)) for name, p in parameters.items()))
        super().__init__(meta, layout, actions, _no_loss if loss is None else self._told)
        self.parameters, self._closure, self._scale = parameters, closure, scale
        self._known = loss
        self.elsewhere = False
        self._exact = all(isinstance(action, Exact) for action in actions)

    def flat(self, tensors: Mapping[str, Tensor | None]) -> Tensor:
        """One row, (1, P), in float32 at least; what is None counts as zero."""
        first = next(iter(self.parameters.values()))
        dtype = torch.float32
        for p in self.parameters.values():
            dtype = torch.promote_types(dtype, p.dtype)

        def row(name: str) -> Tensor:
            p, t = self.parameters[name], tensors[name]
            t = torch.zeros_like(p) if t is None else t.detach()
            t = t.to_dense() if t.is_sparse else t
            return t.to(first.device, dtype).unsqueeze(0)

        return self.layout.flatten({name: row(name) for name in self.parameters})

    def gradient(self) -> Tensor:
        """What lies in `grad`, (1, P).

        Raises:
            ValueError: If it is not finite.
        """
        return self._finite(self.flat({name: p.grad for name, p in self.parameters.items()}))

    def losses(self, weights: Tensor, data: Tensors) -> Tensor:
        """The loss (1,), or zero where it is known not to change."""
        if self._known is not None:
            return self.loss(self._one(weights), {k: v[0] for k, v in data.items()}).reshape(1)
        if self._exact:
            return weights.new_zeros(1)
        return self._asked(weights)

    def gradient_at(self, weights: Tensor, data: Tensors) -> Tensor:
        """That of the loss; zero without one, for then no direction can read it."""
        if self._known is None:
            return torch.zeros_like(weights)
        return self._slope(weights, data)

    def gradient_after(self, teleported: Teleported, gradient: Tensor, data: Tensors) -> Tensor:
        """Transported, or evaluated."""
        weights = teleported.there.weights
        if self._exact:
            return self._finite(self._transported(teleported, gradient))
        if self._known is not None:
            return self._finite(self._slope(weights, data))
        self._asked(weights)
        return self.gradient()

    def local(self, move: Tensor, gradient: Tensor) -> Tensor:
        """The move, tensor by tensor times its factor."""
        return move * self.layout.spread(move.new_tensor([self._scale]))

    def write(self, weights: Tensor) -> None:
        """Put weights (1, P) into the model."""
        values = self._one(weights)
        torch._foreach_copy_(
            list(self.parameters.values()), [values[n].to(p) for n, p in self.parameters.items()]
        )

    def _slope(self, weights: Tensor, data: Tensors) -> Tensor:
        return self.flat(grad(self.loss)(self._one(weights), {k: v[0] for k, v in data.items()}))

    def _told(self, parameters: Tensors, data: Tensors) -> Tensor:
        assert self._known is not None
        return self._known({n: t.to(self.parameters[n]) for n, t in parameters.items()}, data)

    def _asked(self, weights: Tensor) -> Tensor:
        if self._closure is None:
            raise ValueError(
                f"{WHERE}: a teleport that depends on the data needs loss and gradient where it leads; got no closure; "
                "call step(closure, data=...), or give the optimizer a loss."
            )
        self.elsewhere = True
        self.write(weights)
        with torch.enable_grad():
            value = self._closure()
        if value is None:
            raise ValueError(
                f"{WHERE}: the closure must return the loss, for a teleport is to keep it; got None; "
                "end it with return loss."
            )
        return torch.tensor([float(value)], dtype=torch.float64, device=weights.device)

    def _transported(self, teleported: Teleported, gradient: Tensor) -> Tensor:
        slopes, here = self._one(gradient), self._one(teleported.here)
        for action, a in zip(self.actions, teleported.taken, strict=True):
            assert isinstance(action, Exact)
            g = element(action, a[0], self.meta.design.radius)
            slopes = slopes | action.symmetry.transport(g, slopes, here)
            here = here | action.symmetry.act(g, here)
        return self.flat(slopes)

    def _one(self, weights: Tensor) -> Tensors:
        return {name: t[0] for name, t in self.layout.unflatten(weights).items()}

    def _finite(self, gradient: Tensor) -> Tensor:
        if gradient.isfinite().all():
            return gradient
        bad = ", ".join(n for n, g in self._one(gradient).items() if not g.isfinite().all())
        raise ValueError(
            f"{WHERE}: gradients must be finite; got inf or nan for {bad}; nothing was changed; "
            "leave the step out, or look at loss and data."
        )


def _no_loss(parameters: Tensors, data: Tensors) -> Tensor:
    raise ValueError(
        f"{WHERE}: a direction of the design evaluates the loss at other weights; got no loss; "
        "pass loss=, a function of weights and data, to the optimizer."
    )
