"""Accuracy under attacks of growing strength."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole
from isoloss.ensemble._ensemble import Ensemble
from isoloss.ensemble.attacks import Attack

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RobustnessCurve:
    """How often a model is right under attack.

    Attributes:
        strengths: Largest norms of the changes, in units of the inputs.
        accuracy: Share of samples whose class is predicted, for each strength.
        clean: The same without attack.
    """

    strengths: tuple[float, ...]
    accuracy: tuple[float, ...]
    clean: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return asdict(self)


def robustness_curve(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    strengths: Sequence[float],
    attack: Attack,
    *,
    predict: Predict | None = None,
    together: bool = True,
    batch: int | None = None,
) -> RobustnessCurve:
    """Attack a model at several strengths and count what it still gets right.

    An ensemble is attacked through its mean, whose gradient is the average of those of its members, and judged by
    its vote.

    Args:
        model: What is attacked; call eval() before.
        x: Inputs, shape (sample, *features).
        y: Classes, shape (sample,).
        strengths: For each one number of the curve.
        attack: `FGSM()`, `PGD()`, or any function like them.
        predict: Gives the classes that are counted; by default those of `Ensemble.predict`, or the largest output.
        together: Attack at all strengths at once, every sample once for each. False for a model whose outputs for a
            sample depend on the other samples (statistics of the batch, `Acting`), and for attacks that take one
            number for a strength.
        batch: Number of samples at a time, each at all strengths; all if None.

    Raises:
        ValueError: If there is no strength, a negative one, or classes do not fit the samples.
    """
    if not strengths or not all(s >= 0 for s in strengths):
        raise ValueError(
            f"robustness_curve: strengths must be numbers that are not negative, at least one; got {list(strengths)!r}."
        )
    if y.shape != x.shape[:1] or not len(x):
        raise ValueError(
            f"robustness_curve: needs a class per sample; got {tuple(y.shape)} for inputs {tuple(x.shape)}."
        )
    if batch is not None and not is_whole(batch, 1):
        raise ValueError(f"robustness_curve: batch must be a positive integer or None; got {batch!r}.")
    choose = predict or _default(model)
    right, clean = torch.zeros(len(strengths), dtype=torch.int64), 0
    size = len(x) if batch is None else batch
    for xs, ys in zip(x.split(size), y.split(size), strict=True):
        with torch.no_grad():
            clean += int((choose(xs) == ys).sum())
        right += (
            _all_at_once(model, xs, ys, strengths, attack, choose)
            if together
            else torch.tensor([_right(choose, attack(model, xs, ys, s), ys) for s in strengths])
        )
    shares = (right.double() / len(x)).tolist()
    return RobustnessCurve(tuple(map(float, strengths)), tuple(shares), clean / len(x))


def _all_at_once(
    model: nn.Module, x: Tensor, y: Tensor, strengths: Sequence[float], attack: Attack, choose: Predict
) -> Tensor:
    count = len(strengths)
    radius = torch.tensor(strengths, dtype=x.dtype, device=x.device).repeat_interleave(len(x))
    ys = y.repeat(count)
    moved = attack(model, x.repeat(count, *(1,) * (x.dim() - 1)), ys, radius)
    with torch.no_grad():
        return (choose(moved) == ys).view(count, len(x)).sum(1).cpu()


@torch.no_grad()
def _right(choose: Predict, x: Tensor, y: Tensor) -> int:
    return int((choose(x) == y).sum())


def _default(model: nn.Module) -> Predict:
    return model.predict if isinstance(model, Ensemble) else lambda x: model(x).argmax(-1)
