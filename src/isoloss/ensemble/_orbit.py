"""Many models from one, by random group elements."""

from typing import Any

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole
from isoloss.ensemble._draw import Draw, Form
from isoloss.ensemble._ensemble import Ensemble
from isoloss.ensemble.sources import Exact, Source
from isoloss.symmetry import Symmetries


def orbit_ensemble(
    model: nn.Module,
    action: Symmetries | Source,
    n: int,
    epsilon: float = 0.1,
    *,
    form: Form = "linear",
    generator: torch.Generator | None = None,
    **options: Any,
) -> Ensemble:
    r"""An ensemble of n models on the orbit of one, without any training.

    .. math:: \theta_i = g_i \cdot \theta, \qquad g_i = 1 + \varepsilon M_i \;\text{ or }\; \exp(\varepsilon M_i)

    Args:
        model: The model; left as it is.
        action: What moves it. `Symmetries` of the model move it exactly: the members compute the same function, so
            that they agree on every input, and their vote is that of the model. `OnBatch(inputs)` is a data-dependent
            action, under which they agree on the batch and differ elsewhere; it also takes the baselines that the
            dissertation compares with. `WithinActivation(name, width)` acts anew on every batch.
        n: Number of members.
        epsilon: Size of g - 1; see `Draw`.
        form: "linear" for 1 + epsilon M, as published, or "exp".
        generator: Source of random numbers; the global one if None.
        options: Those of `Ensemble`.

    Raises:
        ValueError: If n is not positive, epsilon no size, an element would leave its group, or a moved tensor would
            not be finite.

    References:
        Dissertation, section 2.9, Eqs. (2.54) and (2.55).

    Example:
        >>> import torch, isoloss
        >>> from isoloss.ensemble import OnBatch, orbit_ensemble
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> ensemble = orbit_ensemble(model, OnBatch(torch.randn(20, 4)), n=5, epsilon=0.1)
        >>> ensemble.outputs(torch.randn(7, 4)).shape, ensemble.predict(torch.randn(7, 4)).shape
        (torch.Size([5, 7, 3]), torch.Size([7]))
    """
    if not is_whole(n, 1):
        raise ValueError(f"orbit_ensemble: n must be a positive integer; got {n!r}.")
    source = Exact(action) if isinstance(action, Symmetries) else action
    if not isinstance(source, Source):
        raise TypeError(
            f"orbit_ensemble: action must be Symmetries, OnBatch(...) or WithinActivation(...); got "
            f"{type(action).__name__}; symmetries come from isoloss.find(model, inputs), and a data-dependent action "
            "needs its data: OnBatch(inputs, action)."
        )
    template, members = source.members(model, n, Draw(epsilon, form, generator))
    members = [dict(member) for member in members]
    _check_finite(members)
    own = (*options.pop("own", ()), *members[0])
    return Ensemble(template, members, own=own, agree=source.agree, **options)


def _check_finite(members: list[dict[str, Tensor]]) -> None:
    for i, member in enumerate(members):
        for name, t in member.items():
            if not bool(t.isfinite().all()):
                raise ValueError(
                    f"orbit_ensemble: a move must give finite values; got inf or nan in {name} of member {i}; "
                    "use a smaller epsilon, and look for inf and nan in the model."
                )
