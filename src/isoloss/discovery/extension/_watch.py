"""What goes into a submodule and comes out of it while the whole model runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from isoloss.dependent._given import replaced
from isoloss.finding._find import _arguments
from isoloss.finding._world import Plain
from isoloss.symmetry import named_tensors


@dataclass(frozen=True)
class Call:
    """One call of a submodule.

    Attributes:
        args: Positional inputs, copied.
        kwargs: Keyword inputs, copied.
        output: What it returned, copied.
    """

    args: tuple
    kwargs: dict[str, Any]
    output: Any


@contextmanager
def watched(module: nn.Module, given: Sequence[Call] = ()) -> Iterator[list[Call]]:
    """Within, the calls of a module are noted; the first ones return what given calls did, and compute nothing."""
    calls: list[Call] = []
    forward = module.forward

    def noted(*args: Any, **kwargs: Any) -> Any:
        # Copied first, for a module may write over its inputs, and the model over what the module returns.
        seen, named = tree_map(_copied, (args, kwargs))
        output = given[len(calls)].output if len(calls) < len(given) else forward(*args, **kwargs)
        calls.append(Call(seen, named, tree_map(_copied, output)))
        return tree_map(_copied, output) if len(calls) <= len(given) else output

    with replaced({module: noted}):
        yield calls


def inputs_of(
    module: nn.Module, model: nn.Module, tensors: Mapping[str, Tensor], data: Any
) -> tuple[tuple[tuple, dict[str, Any]], frozenset[str]]:
    """The inputs of a submodule in its first call, where the model has these tensors; it runs no further.

    Differentiable in the tensors, and in the data. The model itself is not touched.

    Args:
        module: The submodule.
        model: The whole.
        tensors: Parameters and buffers by name; those that are missing are the model's own.
        data: Inputs of the model, as for `find`; floating-point ones are taken to the dtype of the tensors.

    Returns:
        The positional and keyword inputs, and the names of the parameters and buffers that were read to make them.

    Raises:
        ValueError: If the model does not call the submodule.
    """
    like = next(t for t in tensors.values() if t.is_floating_point())

    def stop(*args: Any, **kwargs: Any) -> Any:
        raise _ReachedError(args, kwargs)

    def wide(x: Any) -> Any:
        return x.to(like.dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

    own = {name: wide(t.detach()) for name, t in named_tensors(model).items() if name not in tensors}
    buffers = {name for name, _ in model.named_buffers()}
    # Running statistics are written over in training.
    here = {name: t.clone() if name in buffers else t for name, t in (own | dict(tensors)).items()}
    args, kwargs = tree_map(wide, _arguments(data))
    try:
        with Plain(), replaced({module: stop}), _Reads(here) as reads:
            functional_call(model, here, args, kwargs)
    except _ReachedError as reached:
        return (reached.args_, reached.kwargs), frozenset(reads.names)
    raise ValueError(
        "extend: the model must call the submodule whose inputs are the data; got a pass without it; "
        "give inputs on which it is called, or another data_at."
    )


def as_one(*args: Any, **kwargs: Any) -> Any:
    """The inputs of a submodule as the data of a symmetry: a single input as it is, several as a tuple or a dict.

    Raises:
        ValueError: If there are both positional and keyword inputs.
    """
    if args and kwargs:
        raise ValueError(
            f"extend: the inputs of the submodule must be positional, or keywords; got {len(args)} and "
            f"{', '.join(kwargs)}; pass as_data, a function of them that returns what the symmetry calls data."
        )
    if kwargs:
        return kwargs
    return args[0] if len(args) == 1 else args


AsData = Callable[..., Any]


class _Reads(TorchFunctionMode):
    """Notes which tensors are read, by name."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        self.names: set[str] = set()
        self._known = {id(t): name for name, t in tensors.items()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for x in tree_leaves((args, kwargs)):
            if id(x) in self._known:
                self.names.add(self._known[id(x)])
        return func(*args, **(kwargs or {}))


class _ReachedError(Exception):
    def __init__(self, args: tuple, kwargs: dict[str, Any]):
        super().__init__()
        self.args_, self.kwargs = args, kwargs


def _copied(x: Any) -> Any:
    return torch.clone(x) if isinstance(x, Tensor) else x
