"""What a meta-optimizer sees: the gradient in several scalings, and what became of the earlier ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.learn._flat import Layout, length, length_or_one
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
        size: Root of the average of their squares, likewise.
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
    size: Tensor
    agreement: Tensor
    cosine: Tensor
    step: Tensor

    def of_coordinates(self) -> Tensor:
        """What is known of every weight, (n, P, `COORDINATE_FEATURES`), each of about unit size.

        The gradient relative to its tensor's scale by logarithm and sign, the averaged one likewise and relative to
        the averaged square, how the scale changed since the last step and since the first, and the number of steps.
        """
        spread, inverse = self.layout.spread, self.inverse_scale
        relative = log_scale(self.gradient * inverse)
        average = self.mean * inverse
        normalized = _over(self.mean, self.size)
        changes = spread(torch.cat(_changes(self.scale, self.previous, self.first))).unflatten(0, (2, -1))
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
        now, before, start = (_rms(s) for s in (self.scale, self.previous, self.first))
        mean, size = _rms(self.mean), _rms(self.size)
        return torch.stack(
            [
                *_changes(now, before, start),
                self.cosine,
                _over(mean, size),
                (_log(size) - _log(now)).tanh(),
                torch.log1p(self.step) / DECADES,
                (-self.step).exp(),
            ],
            -1,
        )

    @property
    def inverse_scale(self) -> Tensor:
        """One over the scale of its tensor for every weight, (n, P); 0 where the gradient is."""
        return self.layout.spread(torch.where(self.scale < _tiny(self.scale), 0.0, _over_one(self.scale)))


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
        "size": zero,
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
    size = _root_sum(DECAYS[1] ** 0.5 * state["size"], (1 - DECAYS[1]) ** 0.5 * gradient)
    corrections = [(1 - decay ** (step + 1))[:, None] for decay in DECAYS]
    here, last = (g / length_or_one(g) for g in (gradient, state["last"]))
    cosine = (here * last).sum(1)
    seen = Observation(
        layout,
        weights,
        gradient,
        scale,
        previous,
        first,
        mean / corrections[0],
        size / corrections[1].sqrt(),
        gradient.sign() * last.sign(),
        cosine,
        step,
    )
    kept = {
        "last": gradient,
        "mean": mean,
        "size": size,
        "previous": scale,
        "first": first,
        "step": step + 1,
    }
    return seen, kept


# What follows is finite for all numbers, and so are its derivatives where there is nothing.
def _changes(now: Tensor, before: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    return (_log(now) - _log(before)).tanh(), (_log(now) - _log(start)) / DECADES


def _log(x: Tensor) -> Tensor:
    return x.clamp_min(_tiny(x)).log()


def _over(x: Tensor, size: Tensor) -> Tensor:
    """A quotient x / size with |x| <= C size."""
    return x * _over_one(size)


def _over_one(x: Tensor) -> Tensor:
    return 1 / torch.where(x < _tiny(x), 1.0, x)


def _root_sum(x: Tensor, y: Tensor) -> Tensor:
    """The root of x^2 + y^2."""
    nothing = (x == 0) & (y == 0)
    return torch.where(nothing, 0.0, torch.hypot(torch.where(nothing, 1.0, x), y))


def _rms(x: Tensor) -> Tensor:
    return length(x)[:, 0] / x.shape[1] ** 0.5


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny
