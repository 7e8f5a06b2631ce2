"""Gradient flow: the curve that gradient descent follows in the limit of small steps."""

from collections.abc import Sequence
from contextlib import contextmanager
from itertools import count
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from isoloss._checks import is_size, is_whole
from isoloss.flow._field import Field, LossOf, Parameters, Rates
from isoloss.flow._trajectory import Trajectory

Method = Literal["RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"]
POINTS = 101


def gradient_flow(
    loss: LossOf,
    params: Parameters,
    t: float | Sequence[float] | Tensor,
    *,
    method: Method = "DOP853",
    rtol: float = 1e-8,
    atol: float = 1e-10,
    rates: Rates | None = None,
    limit: int = 50_000,
    dense: bool = False,
    progress: bool = False,
) -> Trajectory:
    r"""Integrate the gradient flow of a loss by scipy's adaptive integrators, in float64.

    .. math:: \dot\theta(t) = -\varepsilon \nabla L(\theta(t))

    What is given stays as it is, also if the integration is interrupted. The loss must be the same function at every
    call: no dropout, no minibatches.

    Args:
        loss: Called with a dict of float64 tensors, or with a float64 copy of the module; returns one number.
        params: Where to start: named tensors, or a module, of which the parameters that require gradients move.
        t: The last time, recorded at 101 equally spaced ones from 0; or the times themselves, increasing. The flow
            starts at 0.
        method: "DOP853" and "RK45" are explicit; "Radau", "BDF" and "LSODA" are for stiff flows of few parameters.
        rtol: Relative tolerance of a step. The drift of a conserved quantity is proportional to it.
        atol: Absolute tolerance of a step.
        rates: Learning rates :math:`\varepsilon` by parameter, 1 where there is none.
        limit: Most gradients that it may take. At a kink of ReLU the velocity jumps; where it points at the kink from
            both sides the flow slides along it, which no integrator follows in steps of finite length.
        dense: Keep the curve between the times as well; takes memory for every step of the integrator.
        progress: Show a bar of the time reached.

    Returns:
        The trajectory.

    Raises:
        ValueError: If an argument is not as described, or the flow does not stay finite.
        ImportError: If scipy, or tqdm for the bar, is not installed.

    References:
        Dissertation, Eq. (2.10).
    """
    try:
        from scipy.integrate import solve_ivp
    except ImportError as error:
        raise ImportError("gradient_flow: needs scipy; install it with pip install isoloss[flow].") from error
    times = _times(t)
    if method not in get_args(Method):
        raise ValueError(
            f"gradient_flow: method must be one of {', '.join(get_args(Method))}; got {method!r}; leave it out."
        )
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if not (is_size(tolerance) and 0.0 < tolerance < 1.0):
            raise ValueError(f"gradient_flow: {name} must lie between 0 and 1; got {tolerance!r}.")
    if not is_whole(limit, least=1):
        raise ValueError(f"gradient_flow: limit must be a whole number of at least 1; got {limit!r}.")
    field = Field(loss, params, rates, "gradient_flow")
    device = field.start.device
    first, _ = field(field.start)
    if not first.isfinite():
        raise ValueError(
            f"gradient_flow: the loss must be finite at the start; got {float(first):g}; check the parameters."
        )
    calls = count(1)
    with _bar(float(times[-1]), progress) as shown:

        def velocity(now, y):
            shown(float(now))
            if next(calls) > limit:
                raise ValueError(
                    f"gradient_flow: the integrator must reach t = {float(times[-1]):g} in {limit} gradients; got as "
                    f"far as t = {now:.4g}; the flow is stiff (method='Radau'), or slides along a kink of the "
                    "activation: stop earlier, raise rtol, or raise limit."
                )
            return field(torch.from_numpy(y).to(device))[1].cpu().numpy()

        with np.errstate(all="ignore"):  # a trial step may overflow; it is then taken back
            found = solve_ivp(
                velocity,
                (0.0, float(times[-1])),
                field.start.cpu().numpy(),
                method=method,
                t_eval=times.numpy(),
                dense_output=dense,
                rtol=rtol,
                atol=atol,
            )
    y = torch.from_numpy(found.y.T.copy()).to(device)
    if found.status != 0 or not y.isfinite().all():
        raise ValueError(
            f"gradient_flow: the trajectory must stay finite to t = {float(times[-1]):g}; got as far as "
            f"t = {float(found.t[-1]) if len(found.t) else 0.0:.4g} ({found.message.rstrip('.')}); the loss is "
            "unbounded below or not smooth there: stop earlier, or try another method."
        )
    losses, velocities = zip(*(field(row) for row in y), strict=True)

    def curve(now: float) -> dict[str, Tensor]:
        return field.named(torch.from_numpy(found.sol(now)).to(device))

    return Trajectory(
        times,
        field.named(y),
        field.named(torch.stack(velocities)),
        torch.stack(losses).cpu(),
        field.rates,
        int(found.nfev) + len(y) + 1,
        curve if dense else None,
    )


def _times(t: float | Sequence[float] | Tensor) -> Tensor:
    try:
        times = torch.as_tensor(t, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError):
        times = torch.empty(0, dtype=torch.float64)
    if times.dim() == 0:
        times = torch.linspace(0.0, float(times), POINTS, dtype=torch.float64)
    good = times.dim() == 1 and len(times) > 1 and bool(times.isfinite().all())
    if not good or times[0] < 0.0 or not bool((times.diff() > 0).all()):
        raise ValueError(
            f"gradient_flow: t must be a positive number, or increasing times that are not negative; got {t!r}."
        )
    return times


@contextmanager
def _bar(end: float, progress: bool):
    if not progress:
        yield lambda now: None
        return
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError(
            "gradient_flow: progress needs tqdm; install it with pip install isoloss[flow]."
        ) from error
    with tqdm(total=end, desc="gradient flow", bar_format="{l_bar}{bar}| t = {n:.3g} of {total:.3g}") as bar:

        def shown(now: float) -> None:
            bar.update(max(0.0, now - bar.n))

        yield shown
