"""A model as a chain of matrices with links between them, recorded from one run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from isoloss.dependent._activation import ACTIVATIONS, activation_of
from isoloss.dependent._given import Given
from isoloss.dependent._head import WHERE, Head, Run
from isoloss.dependent._layer import Layer
from isoloss.dependent._link import Link, Measured, Pointwise
from isoloss.dependent._passes import Closure

Function = Callable[[Tensor], Tensor]


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
    """A model whose layers run one after another: each reads what the one before gives, and nothing of the others.

    Where modules follow one another and nothing else happens, they are what lies between two layers. Else it is what
    the model itself computes there, which costs a run of it, up to the next layer, for every value.

    Attributes:
        stages: Its linear and convolutional layers, in order.
        head: The loss as a function of the rows of the last.
        loss: The loss here.
    """

    stages: tuple[Stage, ...]
    head: Head
    loss: float

    @classmethod
    def of(cls, model: nn.Module, closure: Closure, run: Run) -> "Chain":
        """Record a run.

        Args:
            model: Any module whose layers run one after another; what lies between has no trained parameters.
            closure: Runs the model once on a batch and returns the loss.
            run: Runs closures; see `undisturbed`.

        Raises:
            ValueError: If the model is no chain, or has trained parameters outside linear and convolutional layers.
        """
        calls, copies, output, loss = _recorded(model, closure, run)
        places = [i for i, call in enumerate(calls) if Layer.suits(call.module)]
        if not places:
            raise ValueError(f"{WHERE}: the loss must run a linear or convolutional layer; it ran none.")
        _check(calls)
        names = {m: n for n, m in model.named_modules()}
        layers = [Layer(names[calls[i].module], calls[i].module) for i in places]
        given = Given(closure, run, copies)
        # Half precision is for storage: what is factored and summed has float32 at least.
        dtypes = [torch.promote_types(layer.weight.dtype, torch.float32) for layer in layers]
        wide = torch.float64 if torch.float64 in dtypes else torch.float32
        columns = [layer.columns(calls[i].taken).to(wide) for layer, i in zip(layers, places, strict=True)]
        rows = [layer.rows(copies[layer.module]).to(wide).contiguous() for layer in layers]
        links: list[Link | None] = []
        for n, (i, j) in enumerate(pairwise(places)):
            shape = copies[layers[n].module].shape
            if _followed(calls[i : j + 1]):
                between = [call.module for call in calls[i + 1 : j]]
                links.append(_link(layers[n], between, layers[n + 1], shape))
                continue
            function = partial(_computed, given, layers[n], layers[n + 1], shape)
            apart = partial(_computed, given.others_wrong(), layers[n], layers[n + 1], shape)
            _check_link(apart, rows[n], columns[n + 1], layers[n], layers[n + 1], model)
            links.append(Measured(function, layers[n + 1].bias is not None))
        stages = tuple(Stage(*one) for one in zip(layers, columns, rows, [*links, None], strict=True))
        tail, last = calls[places[-1] :], layers[-1].module
        plain = _followed(tail) and tail[-1].given is output and tail[-1].left == _version(output)
        modules = nn.Sequential(*(call.module for call in tail[1:])) if plain else None
        if modules is None or not _followed(calls[: places[-1] + 1]):
            _check_first(given, layers[0], model)
        if modules is None:
            _check_loss(given.others_wrong().loss({last: copies[last]}), loss, layers[-1])
        return cls(stages, Head(model, closure, run, layers[-1], copies[last], modules, given), loss)


@dataclass(frozen=True)
class _Call:
    """A call of a module, with the versions of the tensors, which count what has been written over them."""

    module: nn.Module
    taken: Tensor
    given: Tensor
    entered: int
    left: int


def _recorded(
    model: nn.Module, closure: Closure, run: Run
) -> tuple[list[_Call], dict[nn.Module, Tensor], object, float]:
    calls: list[_Call] = []
    outputs: list[object] = []
    copies: dict[nn.Module, Tensor] = {}
    entered: list[int] = []

    def enter(module: nn.Module, inputs: tuple, named: dict) -> None:
        entered.append(_version(_first(inputs, named)))

    def keep(module: nn.Module, inputs: tuple, named: dict, output: Tensor) -> None:
        calls.append(_Call(module, _first(inputs, named), output, entered.pop(), _version(output)))
        if Layer.suits(module):
            copies[module] = output.clone()  # an activation may write over it

    def returned(module: nn.Module, inputs: tuple, output: object) -> None:
        outputs.append(output)

    leaves = _leaves(model)
    handles = [m.register_forward_pre_hook(enter, with_kwargs=True) for m in leaves]
    handles += [m.register_forward_hook(keep, with_kwargs=True) for m in leaves]
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


def _first(inputs: tuple, named: dict) -> Tensor:
    return next(iter((*inputs, *named.values())), torch.empty(0))


def _version(x: object) -> int:
    return x._version if isinstance(x, Tensor) else -1


def _leaves(module: nn.Module) -> list[nn.Module]:
    if Layer.suits(module) or type(module) in ACTIVATIONS or not any(True for _ in module.children()):
        return [module]
    return list(dict.fromkeys(leaf for child in module.children() for leaf in _leaves(child)))


def _followed(calls: list[_Call]) -> bool:
    """Does every module take what the one before has returned, with nothing written over it in between?"""
    return all(b.taken is a.given and b.entered == a.left for a, b in pairwise(calls))


def _check(calls: list[_Call]) -> None:
    layers = [call.module for call in calls if Layer.suits(call.module)]
    if len(set(layers)) < len(layers):
        raise ValueError(f"{WHERE}: every layer must be used once per run; one was used again.")
    for m in (call.module for call in calls):
        if isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p > 0:
            raise ValueError(
                f"{WHERE}: every run must compute the same; got {type(m).__name__} in training mode; "
                "call model.eval() around the teleport."
            )
        if not Layer.suits(m) and any(p.requires_grad for p in m.parameters()):
            raise ValueError(
                f"{WHERE}: only linear and convolutional layers may have trained parameters; got {type(m).__name__}; "
                "the search has no rule for others, act_ needs none; or freeze them."
            )


def _check_link(
    function: Function, rows: Tensor, columns: Tensor, layer: Layer, following: Layer, model: nn.Module
) -> None:
    """Refuse a layer that reads anything but what the one before gives, with all others made wrong."""
    with torch.enable_grad():
        z = rows.detach().requires_grad_()
        x = function(z)
    # The same operations on the same numbers, if in another layout of the memory: half of the digits tell them apart.
    half = torch.finfo(following.weight.dtype).eps ** 0.5
    largest = float(columns.nan_to_num(0.0, 0.0, 0.0).abs().amax())
    used = _uses(x, {"": z, **_trained(model)})
    if "" not in used or not torch.allclose(x.detach(), columns, half, half * largest, equal_nan=True):
        raise ValueError(
            f"{WHERE}: every layer must read what the layer before it gives, and nothing of the others; "
            f"{following.name} reads otherwise, after {layer.name}; residual streams and branches are not searched, "
            "act_ needs no chain."
        )
    _check_unused([name for name in used if name])


def _check_first(given: Given, layer: Layer, model: nn.Module) -> None:
    with torch.enable_grad():
        x = given.inputs(layer.module, {})
    _check_unused(_uses(x, _trained(model)))


def _check_unused(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"{WHERE}: only linear and convolutional layers may have trained parameters, and use their own; got "
            f"{names[0]} outside of one; the search has no rule for it, act_ needs none; or freeze it."
        )


def _check_loss(found: Tensor, loss: float, layer: Layer) -> None:
    half = torch.finfo(found.dtype).eps ** 0.5  # see _check_link
    if not torch.allclose(found.detach(), torch.full_like(found, loss), half, 0.0, equal_nan=True):
        raise ValueError(
            f"{WHERE}: the model must return what it computes from its last layer; got something else beside "
            f"{layer.name}; residual streams and branches are not searched, act_ needs no chain."
        )


def _uses(x: Tensor, tensors: dict[str, Tensor]) -> list[str]:
    """Which tensors, by name, does it depend on?"""
    if not x.requires_grad:
        return []
    found = torch.autograd.grad(x.sum(), list(tensors.values()), allow_unused=True)
    return [name for name, g in zip(tensors, found, strict=True) if g is not None]


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def _computed(given: Given, layer: Layer, following: Layer, shape: torch.Size, z: Tensor) -> Tensor:
    """The columns of a layer from the rows of the one before, by a run of the model."""
    x = given.inputs(following.module, {layer.module: layer.image(z, shape)})
    return following.columns(x).to(z.dtype)


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
    return Measured(
        lambda z: following.columns(
            inner(layer.image(z, shape).clone(memory_format=torch.contiguous_format))
        ),
        biased,
    )
