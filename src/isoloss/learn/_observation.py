"""What a meta-optimizer sees: the gradient in several scalings, and what became of the earlier ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.learn._flat import Layout
from isoloss.learn._state import State

DECAYS = 0.9, 0.99
"""Of the averages of the gradient and of its square."""

DECADES = 10.0
"""The p of the log-scale: entries below exp(-p) are shown by their value, larger ones by logarithm and sign."""


@dataclass(frozen=True, eq=False)
class Observation:
    """One step of n optimizees with P weights in T tensors.

    Attributes:
        layout: Of the weights.
        weights: (n, P).
        gradient: (n, P).
        scale: Root mean square of the gradient of every tensor, (n, T).
        previous: The same a step before, and this step's at the first one.
        first: The same at the first step.
        mean: Average of the gradients, (n, P), corrected for its start at zero.
        square: Average of their squares, likewise.
        agreement: Whether its entries have the sign of the one before, (n, P): 1, -1, or 0 at the first step.
        cosine: Between this gradient and the one before, (n,); 0 at the first step.
        step: Steps taken before this one, (n,).
    """

    layout: Layout
    weights: Tensor
    gradient: Tensor
    scale: Tensor
    previous: Tensor
    first: Tensor
    mean: Tensor
    square: Tensor
    agreement: Tensor
    cosine: Tensor
    step: Tensor

    def of_coordinates(self) -> Tensor:
        """What is known of every weight, (n, P, `COORDINATE_FEATURES`), each of about unit size.

        The gradient relative to its tensor's scale by logarithm and sign, the averaged one likewise and relative to
        the averaged square, how the scale changed since the last step and since the first, and the number of steps.
        """
        spread, tiny = self.layout.spread, _tiny(self.gradient)
        scale = spread(self.scale) + tiny
        relative = log_scale(self.gradient / scale)
        average = self.mean / scale
        normalized = self.mean / (self.square.sqrt() + tiny)
        changes = spread(torch.stack(self._changes(), 0).flatten(0, 1)).unflatten(0, (2, -1))
        step = torch.log1p(self.step)[:, None].expand_as(self.gradient) / DECADES
        turned = self.cosine[:, None].expand_as(self.gradient)
        columns = [
            relative[..., 0],
            relative[..., 1],
            average.tanh(),
            normalized,
            self.agreement,
            turned,
            *changes,
            step,
        ]
        return torch.stack(columns, -1)

    def of_all(self) -> Tensor:
        """What is known of all weights together, (n, `SUMMARY_FEATURES`), each of about unit size."""
        tiny = _tiny(self.gradient)
        now, before, start = (
            s.square().mean(1).sqrt() + tiny for s in (self.scale, self.previous, self.first)
        )
        mean, square = (x.square().mean(1).sqrt() for x in (self.mean, self.square.sqrt()))
        return torch.stack(
            [
                (now / before).log().tanh(),
                (now / start).log() / DECADES,
                self.cosine,
                mean / (square + tiny),
                (square / now).log().tanh(),
                torch.log1p(self.step) / DECADES,
                (-self.step).exp(),
            ],
            -1,
        )

    def _changes(self) -> tuple[Tensor, Tensor]:
        tiny = _tiny(self.gradient)
        now, before, start = (s + tiny for s in (self.scale, self.previous, self.first))
        return (now / before).log().tanh(), (now / start).log() / DECADES


COORDINATE_FEATURES = 9
SUMMARY_FEATURES = 7


def log_scale(x: Tensor) -> Tensor:
    """Logarithm and sign of numbers of very different sizes, (*shape) to (*shape, 2).

    References:
        Andrychowicz et al. 2016, Appendix A: (log|x| / p, sign x) from exp(-p) on, (-1, exp(p) x) below.
    """
    large = x.abs() >= torch.tensor(-DECADES).exp().item()
    logarithm = torch.where(large, x.abs().clamp_min(_tiny(x)).log() / DECADES, -1.0)
    return torch.stack([logarithm, torch.where(large, x.sign(), torch.tensor(DECADES).exp().item() * x)], -1)


def observer_start(layout: Layout, weights: Tensor) -> State:
    """Nothing has been seen."""
    zero = torch.zeros_like(weights)
    scale = weights.new_zeros(len(weights), len(layout.shapes))
    return {
        "last": zero,
        "mean": zero,
        "square": zero,
        "previous": scale,
        "first": scale,
        "step": weights.new_zeros(len(weights)),
    }


def observe(layout: Layout, weights: Tensor, gradient: Tensor, state: State) -> tuple[Observation, State]:
    """What is seen now, and what is remembered of it.

    Args:
        layout: Of the weights.
        weights: (n, P).
        gradient: (n, P).
        state: Of `observer_start`, or returned by the last call.
    """
    step, scale = state["step"], layout.per_tensor(gradient)
    begun = (step == 0)[:, None]
    first = torch.where(begun, scale, state["first"])
    previous = torch.where(begun, scale, state["previous"])
    mean = DECAYS[0] * state["mean"] + (1 - DECAYS[0]) * gradient
    square = DECAYS[1] * state["square"] + (1 - DECAYS[1]) * gradient.square()
    corrections = [(1 - decay ** (step + 1))[:, None] for decay in DECAYS]
    last = state["last"]
    norms = gradient.norm(dim=1) * last.norm(dim=1)
    cosine = (gradient * last).sum(1) / norms.clamp_min(_tiny(gradient))
    seen = Observation(
        layout,
        weights,
        gradient,
        scale,
        previous,
        first,
        mean / corrections[0],
        square / corrections[1],
        gradient.sign() * last.sign(),
        cosine,
        step,
    )
    kept = {
        "last": gradient,
        "mean": mean,
        "square": square,
        "previous": scale,
        "first": first,
        "step": step + 1,
    }
    return seen, kept


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny ** 0.5
