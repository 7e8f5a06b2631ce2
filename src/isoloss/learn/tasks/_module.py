"""Tasks from any module, a loss, and a sampler of data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss._checks import is_whole
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action
from isoloss.learn.tasks._count import check_count
from isoloss.learn.tasks._exact import exact_actions
from isoloss.learn.tasks._minibatch import gather
from isoloss.learn.tasks._reset import check_resets, reset
from isoloss.learn.tasks._tasks import Draw


@dataclass(frozen=True, eq=False)
class ModuleTasks:
    """Train one module from many initializations on many data sets.

    The optimizee's weights are the module's parameters that require gradients; all else in it stays as it is, and the
    module itself is never changed. The data are "inputs" and "targets".

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from isoloss.learn.tasks import ModuleTasks
        >>> def sample(n, generator):
        ...     x = torch.randn(n, 16, 3, generator=generator)
        ...     return x, x.sum(-1, keepdim=True).sin()
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(), nn.Linear(8, 1))
        >>> tasks = ModuleTasks(net, nn.functional.mse_loss, sample, teleport=True)
        >>> {name: tuple(x.shape) for name, x in tasks.draw(5).parameters.items()}
        {'0.weight': (5, 8, 3), '0.bias': (5, 8), '2.weight': (5, 1, 8), '2.bias': (5, 1)}
        >>> [action.group for action in tasks.actions]
        [PositiveScaling(n=8)]

    Args:
        module: Takes the inputs of one task, (samples, *shape). It must run under `torch.func.vmap`: no dropout and no
            running statistics in training mode.
        criterion: Of the module's output and the targets of one task; a scalar.
        sample_data: From n and a generator to inputs (n, samples, *shape) and targets (n, samples, *shape) of n tasks.
        initialize: From n and a generator to the weights of n tasks, (n, *shape) by name. By default the
            `reset_parameters` of every submodule draws them, as when the module was made.
        teleport: What may teleport the optimizee: nothing, the exact symmetries that `isoloss.find` finds (see
            `exact_actions`), or these actions.
        batch: How many samples one step sees; None for all.

    Raises:
        TypeError: If module is none.
        ValueError: If nothing in the module requires gradients, a submodule keeps running statistics, batch is less
            than 1, or a submodule with weights has no `reset_parameters` and there is no `initialize`.
    """

    name: ClassVar[str] = "module"
    module: nn.Module
    criterion: Callable[[Tensor, Tensor], Tensor]
    sample_data: Callable[[int, torch.Generator | None], tuple[Tensor, Tensor]]
    initialize: Callable[[int, torch.Generator | None], Tensors] | None = None
    teleport: bool | tuple[Action, ...] = False
    batch: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise TypeError(
                f"ModuleTasks: module must be a torch.nn.Module; got {type(self.module).__name__}. "
                "Pass a module, not its class or a function."
            )
        if not self._trained:
            raise ValueError(
                f"ModuleTasks: some parameter must require gradients; got {type(self.module).__name__} with none. "
                "Nothing would be learned."
            )
        if self.batch is not None and not is_whole(self.batch, least=1):
            raise ValueError(
                f"ModuleTasks: batch must be at least 1; got {self.batch!r}. Pass None for all samples."
            )
        _check_statistics(self.module)
        if self.initialize is None:
            check_resets(self.module, self._trained)

    @property
    def actions(self) -> tuple[Action, ...]:
        """What may teleport the optimizee; see `teleport`."""
        return self._actions

    @cached_property
    def _actions(self) -> tuple[Action, ...]:
        if isinstance(self.teleport, tuple):
            return self.teleport
        if not self.teleport:
            return ()
        inputs, _ = self._sampled(1, torch.Generator().manual_seed(0))
        return exact_actions(self.module, inputs[0])

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """Draw n tasks.

        Raises:
            TypeError: If sample_data returns no pair of tensors.
            ValueError: If n is less than 1, or initialize returns other weights than those that are trained.
        """
        check_count("ModuleTasks", n)
        inputs, targets = self._sampled(n, generator)
        initialize = self.initialize or self._reset
        weights = initialize(n, generator)
        if sorted(weights) != sorted(self._trained):
            raise ValueError(
                f"ModuleTasks: initialize must return the parameters that require gradients, "
                f"{', '.join(self._trained)}; got {', '.join(weights) or 'none'}. Others would keep one value."
            )
        return Draw(weights, {"inputs": inputs, "targets": targets})

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        """`batch` samples of every task, none twice."""
        return data if self.batch is None else gather(data, self.batch, generator)

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        """The criterion on the samples of one task."""
        return self.criterion(functional_call(self.module, parameters, (data["inputs"],)), data["targets"])

    @property
    def _trained(self) -> tuple[str, ...]:
        return tuple(name for name, p in self.module.named_parameters() if p.requires_grad)

    def _reset(self, n: int, generator: torch.Generator | None) -> Tensors:
        return reset(self.module, self._trained, n, generator)

    def _sampled(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        sampled = self.sample_data(n, generator)
        if not (
            isinstance(sampled, tuple) and len(sampled) == 2 and all(isinstance(t, Tensor) for t in sampled)
        ):
            raise TypeError(
                f"ModuleTasks: sample_data must return two tensors, inputs and targets; got "
                f"{type(sampled).__name__}. Put what else the criterion needs into the targets."
            )
        return sampled


def _check_statistics(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if part.training and getattr(part, "running_mean", None) is not None:
            raise ValueError(
                f"ModuleTasks: the module must not change its buffers; got running statistics of {name or 'itself'} "
                f"({type(part).__name__}) in training mode. Call eval(), or pass track_running_stats=False."
            )
