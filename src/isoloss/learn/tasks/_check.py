"""What is asked of a distribution of tasks before anything is trained on it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from isoloss.learn._tensors import Tensors
from isoloss.learn.tasks._count import check_count
from isoloss.learn.tasks._tasks import Draw, Tasks


def check_tasks(tasks: Tasks, n: int = 2, seed: int = 0) -> None:
    """Refuse tasks that cannot be trained on.

    Draws twice, takes a minibatch, and evaluates losses and gradients of all tasks together, as training does. The
    global generator is left as it was.

    Args:
        tasks: What is to be trained on.
        n: How many tasks will be drawn at a time.
        seed: Of the two draws.

    Raises:
        TypeError: If tasks lacks a member of the protocol, or returns something else than it says.
        ValueError: If n is less than 1, nothing is drawn, numbers of tasks or shapes differ, the generator does not
            decide the draw, or losses or gradients are no finite scalars of the parameters.
    """
    where = _name(tasks)
    check_count(where, n)
    with torch.random.fork_rng(devices=[]):
        first, again, other = (_drawn(where, tasks, n, s) for s in (seed, seed, seed + 1))
        seen = _minibatch(where, tasks, first, n)
    _check_seeded(where, first, again)
    _check_shapes(where, first, other)
    _check_loss(where, tasks, first.parameters, seen)
    _check_actions(where, tasks, first.parameters)


def _name(tasks: Any) -> str:
    missing = [m for m in ("name", "actions", "draw", "minibatch", "loss") if not hasattr(tasks, m)]
    if missing or isinstance(tasks, type):
        raise TypeError(
            f"check_tasks: tasks must be an object with name, actions, draw, minibatch and loss; got {tasks!r}"
            + (f" without {', '.join(missing)}. " if missing else ", a class. ")
            + "See isoloss.learn.tasks.Tasks."
        )
    return type(tasks).__name__


def _drawn(where: str, tasks: Tasks, n: int, seed: int) -> Draw:
    drawn = tasks.draw(n, torch.Generator().manual_seed(seed))
    if not isinstance(drawn, Draw):
        raise TypeError(
            f"{where}.draw: must return a Draw; got {type(drawn).__name__}. Wrap the two dicts in one."
        )
    if not any(t.numel() for t in drawn.parameters.values()):
        raise ValueError(
            f"{where}.draw: an optimizee must have parameters; got {_shapes(drawn.parameters) or 'none'}. "
            "There is nothing to train."
        )
    _check_size(f"{where}.draw", drawn.parameters | drawn.data, n)
    for name, t in drawn.parameters.items():
        if not t.is_floating_point() or not t.isfinite().all():
            raise ValueError(
                f"{where}.draw: parameters must start at finite floating-point numbers; got {_excerpt(t)} for {name}. "
                "Look at how it is initialized."
            )
    return drawn


def _minibatch(where: str, tasks: Tasks, drawn: Draw, n: int) -> Tensors:
    seen = tasks.minibatch(drawn.data, torch.Generator().manual_seed(0))
    if not isinstance(seen, dict) or seen.keys() != drawn.data.keys():
        got = ", ".join(seen) or "none" if isinstance(seen, dict) else type(seen).__name__
        raise TypeError(
            f"{where}.minibatch: must return the data by the same names, {', '.join(drawn.data) or 'none'}; got {got}. "
            "Return the data themselves if every step sees all."
        )
    _check_size(f"{where}.minibatch", seen, n)
    return seen


def _check_size(where: str, tensors: Tensors, n: int) -> None:
    for name, t in tensors.items():
        if not isinstance(t, Tensor) or t.dim() == 0 or len(t) != n:
            got = tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__
            raise ValueError(
                f"{where}: tensors of {n} tasks must have shape ({n}, *shape); got {got} for {name}. "
                "Put the tasks on the first axis."
            )


def _check_seeded(where: str, first: Draw, again: Draw) -> None:
    one, two = first.parameters | first.data, again.parameters | again.data
    for name, t in one.items():
        if name not in two or not torch.equal(t.nan_to_num(), two[name].nan_to_num()):
            raise ValueError(
                f"{where}.draw: the generator must decide what is drawn; got two {name} from one seed. "
                "Pass it to every function that draws."
            )


def _check_shapes(where: str, first: Draw, other: Draw) -> None:
    for one, two in ((first.parameters, other.parameters), (first.data, other.data)):
        if _shapes(one) != _shapes(two):
            raise ValueError(
                f"{where}.draw: all draws must have the same names and shapes; got {_shapes(one) or 'none'} and "
                f"{_shapes(two) or 'none'}. Pad, or make two distributions."
            )


def _check_loss(where: str, tasks: Tasks, parameters: Tensors, data: Tensors) -> None:
    losses = _run(where, lambda: vmap(tasks.loss)(parameters, data))
    if not isinstance(losses, Tensor) or losses.dim() != 1 or not losses.is_floating_point():
        got = (
            f"shape {tuple(losses.shape[1:])}, {losses.dtype}"
            if isinstance(losses, Tensor)
            else type(losses).__name__
        )
        raise ValueError(
            f"{where}.loss: must be a scalar, a floating-point tensor of shape (), for one task; got {got}. "
            "Sum or average."
        )
    if not losses.isfinite().all():
        raise ValueError(
            f"{where}.loss: must be finite where optimizees start; got {_excerpt(losses)}. "
            "Look at data and initialization."
        )
    slopes = _run(where, lambda: vmap(grad(tasks.loss))(parameters, data))
    for name, t in slopes.items():
        if not t.isfinite().all():
            raise ValueError(
                f"{where}.loss: gradients must be finite where optimizees start; got {_excerpt(t)} for {name}. "
                "Look for square roots and norms of 0."
            )
    if not any(t.any() for t in slopes.values()):
        raise ValueError(
            f"{where}.loss: must depend on the parameters; got gradients of 0 for all of {', '.join(slopes)}. "
            "Nothing may be detached."
        )


def _run(where: str, evaluate: Callable[[], Any]) -> Any:
    try:
        return evaluate()
    except Exception as error:  # whatever a user's loss raises
        reason = " ".join(str(error).split())[:200] or "nothing"
        raise ValueError(
            f"{where}.loss: must run on one task under torch.func.vmap and grad; got {type(error).__name__}: {reason}. "
            "Write it for one task, of tensors only."
        ) from error


def _check_actions(where: str, tasks: Tasks, parameters: Tensors) -> None:
    for action in tasks.actions:
        unknown = [name for name in action.parameters if name not in parameters]
        if unknown:
            raise ValueError(
                f"{where}.actions: actions must move parameters of the optimizee, {', '.join(parameters)}; got "
                f"{action.name}, which moves {', '.join(unknown)}. Name them as draw does."
            )


def _shapes(tensors: Tensors) -> str:
    return ", ".join(f"{name} {tuple(t.shape[1:])}" for name, t in sorted(tensors.items()))


def _excerpt(t: Tensor) -> str:
    """The first entry that is not finite, else the dtype."""
    poor = t.flatten()[~t.flatten().isfinite()]
    return f"{poor[0].item()} among {t.numel()} numbers" if len(poor) else f"{t.dtype}"
