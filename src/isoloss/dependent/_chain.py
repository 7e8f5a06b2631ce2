"""A model as a chain of matrices with links between them, recorded from one run."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoloss.dependent._activation import ACTIVATIONS, activation_of
from isoloss.dependent._layer import Layer
from isoloss.dependent._link import Link, Measured, Pointwise
from isoloss.dependent._passes import Closure

Run = Callable[[Closure], Tensor]
WHERE = "dependent.Chain"


@dataclass(frozen=True)
class Stage:
    """One layer of a chain, on one batch.

    Attributes:
        layer: The layer.
        columns: Its inputs, shape (inputs, samples).
        rows: Its outputs, shape (outputs, samples).
        link: What leads to the columns of the next layer; None after the last.
    """

    layer: Layer
    columns: Tensor
    rows: Tensor
    link: Link | None


@dataclass(frozen=True)
class Chain:
    """A model that is a chain of modules: every one takes what the one before has returned.

    Attributes:
        stages: Its linear and convolutional layers, in order.
        head: The loss as a function of the rows of the last.
        loss: The loss here.
    """

    stages: tuple[Stage, ...]
    head: "Head"
    loss: float

    @classmethod
    def of(cls, model: nn.Module, closure: Closure, run: Run) -> "Chain":
        """Record a run.

        Args:
            model: Any module that calls modules one after another: nn.Sequential, nested or not, or like it.
            closure: Runs the model once on a batch and returns the loss.
            run: Runs closures; see `undisturbed`.

        Raises:
            ValueError: If the model is no chain, or has parameters outside linear and convolutional layers.
        """
        calls, copies, output, loss = _recorded(model, closure, run)
        places = [i for i, (m, _, _) in enumerate(calls) if Layer.suits(m)]
        if not places:
            raise ValueError(f"{WHERE}: the loss must run a linear or convolutional layer; it ran none.")
        _check(calls, output)
        names = {m: n for n, m in model.named_modules()}
        layers = [Layer(names[calls[i][0]], calls[i][0]) for i in places]
        # Half precision is for storage: what is factored and summed has float32 at least.
        dtypes = [torch.promote_types(layer.weight.dtype, torch.float32) for layer in layers]
        wide = torch.float64 if torch.float64 in dtypes else torch.float32
        stages = []
        for n, i in enumerate(places):
            module, x, _ = calls[i]
            z = copies[module]
            link = None
            if n + 1 < len(places):
                between = [m for m, _, _ in calls[i + 1 : places[n + 1]]]
                link = _link(layers[n], between, layers[n + 1], z.shape)
            columns, rows = layers[n].columns(x).to(wide), layers[n].rows(z).to(wide)
            stages.append(Stage(layers[n], columns, rows.contiguous(), link))
        tail = nn.Sequential(*(m for m, _, _ in calls[places[-1] + 1 :]))
        head = Head(model, closure, run, layers[-1], copies[layers[-1].module], tail)
        return cls(tuple(stages), head, loss)


class Head:
    """The loss as a function of the outputs of the last layer.

    The closure runs with those outputs put in the place of the model: nothing below is computed.

    Args:
        model: The model.
        closure: Runs it and returns the loss.
        run: Runs closures.
        layer: The last layer.
        outputs: Its outputs, for their shape and dtype.
        tail: What follows it in the model.
    """

    def __init__(
        self, model: nn.Module, closure: Closure, run: Run, layer: Layer, outputs: Tensor, tail: nn.Sequential
    ):
        self._model, self._closure, self._run = model, closure, run
        self._layer, self._tail = layer, tail
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
                f"{WHERE}: the loss must depend on the parameters through the outputs of the model only; it also uses "
                f"{used[0]}; leave penalties on weights to the optimizer."
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
        z = self._layer.image(rows, self._shape).detach().requires_grad_()
        used = []

        def instead(*args, **kwargs):
            used.append(True)
            outputs = z.clone() if z.dtype == self._dtype else z.to(self._dtype)
            return self._tail(outputs) if len(self._tail) else outputs

        before = self._model.__dict__.get("forward")
        self._model.__dict__["forward"] = instead
        try:
            loss = self._run(self._closure)
        finally:
            if before is None:
                del self._model.__dict__["forward"]
            else:
                self._model.__dict__["forward"] = before
        if len(used) != 1:
            raise ValueError(
                f"{WHERE}: the loss must call the model, uncompiled, exactly once; it did so {len(used)} times."
            )
        return z, loss


def _recorded(model: nn.Module, closure: Closure, run: Run):
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    outputs: list[Tensor] = []
    copies: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        calls.append((module, inputs[0], output))
        if Layer.suits(module):
            copies[module] = output.clone()  # an activation may write over it

    def returned(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        outputs.append(output)

    handles = [m.register_forward_hook(keep) for m in _leaves(model)]
    handles.append(model.register_forward_hook(returned))
    try:
        with torch.no_grad():
            loss = run(closure)
    finally:
        for handle in handles:
            handle.remove()
    if len(outputs) != 1:
        raise ValueError(
            f"{WHERE}: the loss must call the model exactly once; it did so {len(outputs)} times."
        )
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ValueError(f"{WHERE}: the loss must be a tensor with one number; got {type(loss).__name__}.")
    return calls, copies, outputs[0], float(loss)


def _leaves(module: nn.Module) -> list[nn.Module]:
    if Layer.suits(module) or type(module) in ACTIVATIONS or not any(True for _ in module.children()):
        return [module]
    return list(dict.fromkeys(leaf for child in module.children() for leaf in _leaves(child)))


def _check(calls: list[tuple[nn.Module, Tensor, Tensor]], output: Tensor) -> None:
    if len({id(m) for m, _, _ in calls if Layer.suits(m)}) < sum(Layer.suits(m) for m, _, _ in calls):
        raise ValueError(f"{WHERE}: every layer must be used once per run; one was used again.")
    for (m, _, given), (n, taken, _) in zip(calls, calls[1:], strict=False):
        if taken is not given:
            raise ValueError(
                f"{WHERE}: every module must take what the one before has returned; got {type(n).__name__} after "
                f"{type(m).__name__} on other inputs; write the model as nn.Sequential, with modules for activations."
            )
    if output is not calls[-1][2]:
        raise ValueError(
            f"{WHERE}: the model must return what its last module has; got something else; "
            "write the model as nn.Sequential."
        )
    for m, _, _ in calls:
        if isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p > 0:
            raise ValueError(
                f"{WHERE}: every run must compute the same; got {type(m).__name__} in training mode; "
                "call model.eval() around the teleport."
            )
        if not Layer.suits(m) and any(True for _ in m.parameters()):
            raise ValueError(
                f"{WHERE}: only linear and convolutional layers may have parameters; got {type(m).__name__}; "
                "the search has no rule for others, act_ needs none."
            )


def _link(layer: Layer, between: list[nn.Module], following: Layer, shape: torch.Size) -> Link:
    biased = following.bias is not None
    acting = [
        m
        for m in between
        if not isinstance(m, nn.Identity) and not (isinstance(m, nn.Dropout) and not m.training)
    ]
    linear = isinstance(layer.module, nn.Linear) and isinstance(following.module, nn.Linear)
    if linear and len(acting) <= 1:
        activation = activation_of(acting[0] if acting else nn.Identity())
        if activation is not None:
            return Pointwise(activation, biased)
    inner = nn.Sequential(*acting)
    return Measured(lambda z: following.columns(inner(layer.image(z, shape).clone())), biased)
