"""Theorem 4.5.9: stochastic gradient descent with jumps ends where the whole orbit is stationary."""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap


def sgd_bound(gap: Tensor | float, noise: Tensor | float, beta: float, steps: int) -> Tensor | float:
    r"""The bound on the least mean square gradient, with jumps to the largest gradient before every step.

    .. math:: \min_{t < T} E \max_g |\nabla L(g \cdot w_t)|^2 \le
        \frac{2 \beta}{\sqrt{T - 1}} E[L(w_0) - L(w^*)] + \frac{\beta \sigma^2}{\sqrt{T - 1}},
        \qquad \eta = \frac{1}{\beta \sqrt{T - 1}}

    Plain descent has the same right side, but only for the gradient at :math:`w_t` itself.

    The hypotheses in full: every :math:`L(\cdot, \xi)` is beta-smooth and bounded below, the samples are independent,
    the group keeps the *mean* loss (not that of each sample), and the maximum over the group is attained. The proof of
    Appendix C.2 holds as written.

    Args:
        gap: :math:`E[L(w_0) - L(w^*)]`.
        noise: :math:`\sigma^2 = L(w^*) - E \inf_w L(w, \xi)`.
        beta: Of every sample's loss.
        steps: T, at least 2.

    Raises:
        ValueError: If there are fewer than 2 steps.

    References:
        Dissertation, Theorem 4.5.9, eq. (4.46), Appendix C.2; 2024 paper, Theorem 1.
    """
    return (2 * beta * gap + beta * noise) / sqrt(_horizon(steps))


def sgd_rate(beta: float, steps: int) -> float:
    r"""The learning rate of the theorem, :math:`1 / (\beta \sqrt{T - 1})`."""
    return 1 / (beta * sqrt(_horizon(steps)))


class BasinRun(NamedTuple):
    """Runs of stochastic descent with jumps.

    Attributes:
        squares: Squared gradients of the mean loss where each step starts, after the jump, ``(steps, runs)``.
        losses: The mean loss there, ``(steps, runs)``.
    """

    squares: Tensor
    losses: Tensor

    @property
    def least(self) -> Tensor:
        """The left side of the theorem, with the mean over the runs for the expectation."""
        return self.squares.mean(1).min()


def basin_run(
    sample_loss: Callable[[Tensor, Tensor], Tensor],
    samples: Tensor,
    teleport: Callable[[Tensor], Tensor],
    w: Tensor,
    *,
    beta: float,
    steps: int,
    generator: torch.Generator | None = None,
) -> BasinRun:
    """Descend as in the theorem, many runs at once.

    Args:
        sample_loss: The loss of one point ``(n,)`` on one sample.
        samples: All samples, ``(samples, ...)``; each step draws one, uniformly, for every run.
        teleport: Moves points ``(runs, n)`` to the largest gradient of the mean loss on their orbits.
        w: The starts, ``(runs, n)``.
        beta: Smoothness of every sample's loss; sets the learning rate.
        steps: T.
        generator: Of the draws.

    References:
        Dissertation, eq. (4.45).
    """
    lr = sgd_rate(beta, steps)
    slope = vmap(grad(sample_loss))

    def mean_loss(w: Tensor) -> Tensor:
        return vmap(sample_loss, (None, 0))(w, samples).mean()

    squares, losses = [], []
    for _ in range(steps):
        w = teleport(w)
        squares.append(vmap(grad(mean_loss))(w).square().sum(-1))
        losses.append(vmap(mean_loss)(w))
        drawn = torch.randint(len(samples), (len(w),), generator=generator)
        w = w - lr * slope(w, samples[drawn])
    return BasinRun(torch.stack(squares), torch.stack(losses))


def _horizon(steps: int) -> int:
    if steps < 2:
        raise ValueError(
            f"sgd_bound: the theorem divides by sqrt(T - 1); got T = {steps}. Take at least 2 steps."
        )
    return steps - 1
