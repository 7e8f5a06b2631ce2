"""Runs of a model in which the outputs of its layers are given: what it computes between two of them, and after all."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from isoloss.dependent._passes import Closure

Forward = Callable[..., Tensor]


class Given:
    """A model whose layers return what they are told to, and compute nothing.

    Args:
        closure: Runs the model once on a batch and returns the loss.
        run: Runs closures; see `isoloss.dependent.undisturbed`.
        outputs: What the layers return if they are told nothing else.
    """

    def __init__(
        self, closure: Closure, run: Callable[[Closure], Tensor], outputs: Mapping[nn.Module, Tensor]
    ):
        self._closure, self._run, self._outputs = closure, run, dict(outputs)

    def others_wrong(self) -> "Given":
        """The same model with wrong outputs: what it computes from the right ones shows whether others matter."""
        # As far from the right ones as those are large, of the other sign as a rule, so that masks differ, too.
        return Given(self._closure, self._run, {m: 1 - 2 * z for m, z in self._outputs.items()})

    def inputs(self, of: nn.Module, given: Mapping[nn.Module, Tensor]) -> Tensor:
        """What one layer reads; the model runs no further.

        Raises:
            ValueError: If the run does not come to that layer.
        """

        def stop(*args: Tensor, **named: Tensor) -> Tensor:
            raise _ReachedError(next(iter((*args, *named.values()))))

        try:
            with replaced({**self._forwards(given), of: stop}):
                self._run(self._closure)
        except _ReachedError as reached:
            return reached.x
        raise ValueError(
            "dependent.Chain: every run must call the same layers; one was left out in another run."
        )

    def loss(self, given: Mapping[nn.Module, Tensor]) -> Tensor:
        """The loss."""
        with replaced(self._forwards(given)):
            return self._run(self._closure)

    def _forwards(self, given: Mapping[nn.Module, Tensor]) -> dict[nn.Module, Forward]:
        # A copy, because activations may write over it, in the same layout, which views and random numbers depend on.
        return {
            m: lambda *_, z=z, m=m, **__: torch.empty_like(z).copy_(given.get(m, z))
            for m, z in self._outputs.items()
        }


@contextmanager
def replaced(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Within, these modules compute other functions."""
    before = {m: m.__dict__["forward"] for m in forwards if "forward" in m.__dict__}
    for module, forward in forwards.items():
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module in forwards:
            if module in before:
                module.__dict__["forward"] = before[module]
            else:
                del module.__dict__["forward"]


class _ReachedError(Exception):
    def __init__(self, x: Tensor):
        super().__init__()
        self.x = x
