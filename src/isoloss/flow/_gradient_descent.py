"""Gradient descent, recorded as a trajectory: the flow with steps of finite length."""

from math import isfinite
from numbers import Real

import torch

from isoloss._checks import is_whole
from isoloss.flow._field import Field, LossOf, Parameters, Rates
from isoloss.flow._trajectory import Trajectory


def gradient_descent(
    loss: LossOf,
    params: Parameters,
    rate: float,
    steps: int,
    *,
    every: int = 1,
    rates: Rates | None = None,
) -> Trajectory:
    r"""Descend with steps of one length, in float64, on copies of the parameters.

    .. math:: \theta_{k+1} = \theta_k - \eta\, \varepsilon \nabla L(\theta_k), \qquad t_k = k \eta

    The times are those of the gradient flow that it approximates, so that both can be laid over each other.

    Args:
        loss: As in `gradient_flow`.
        params: As in `gradient_flow`.
        rate: The learning rate :math:`\eta`.
        steps: Number of steps.
        every: Record every so many steps, beside the first and the last point.
        rates: Factors :math:`\varepsilon` of the learning rate by parameter, 1 where there is none.

    Returns:
        The trajectory.

    Raises:
        ValueError: If an argument is not as described, or the descent does not stay finite.

    References:
        Dissertation, section 2.5 (gradient flow) and Appendix A.4.
    """
    if not isinstance(rate, Real) or isinstance(rate, bool) or not (isfinite(rate) and rate > 0):
        raise ValueError(f"gradient_descent: rate must be a positive number; got {rate!r}.")
    for name, value in (("steps", steps), ("every", every)):
        if not is_whole(value, least=1):
            raise ValueError(f"gradient_descent: {name} must be a whole number of at least 1; got {value!r}.")
    field = Field(loss, params, rates, "gradient_descent")
    y, kept = field.start, []
    for step in range(steps + 1):
        value, velocity = field(y)
        if not value.isfinite():
            raise ValueError(
                f"gradient_descent: the loss must stay finite; got {float(value):g} at step {step}; "
                "use a smaller rate."
            )
        if step % every == 0 or step == steps:
            kept.append((step * rate, y, velocity, value))
        y = y + rate * velocity
    times, points, velocities, losses = zip(*kept, strict=True)
    return Trajectory(
        torch.tensor(times, dtype=torch.float64),
        field.named(torch.stack(points)),
        field.named(torch.stack(velocities)),
        torch.stack(losses).cpu(),
        field.rates,
        steps + 1,
    )
