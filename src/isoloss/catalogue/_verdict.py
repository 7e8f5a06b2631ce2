"""Is a transformation of parameters a symmetry of a kind? Tried on redrawn parameters and data."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from isoloss._checks import is_length, is_whole
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Function, Problem, Tensors

Transformation = Callable[[Tensors], Tensors] | Callable[[Tensors, Any], Tensors]
Of = Literal["network", "loss"]

EPS = torch.finfo(torch.float64).eps
# Roundings that a transformation and a pass of a small network may add up to, each as large as the measured one.
ROUNDINGS = 1000.0
# Beyond it rounding hides what would be a difference.
ILL = 1e-5


@dataclass(frozen=True)
class Verdict:
    """What a trial has shown.

    Attributes:
        kind: The kind that was asked for.
        of: What is kept, or not: the network or the loss.
        holds: Is the transformation a symmetry of the kind, as far as the trial can see?
        error: Largest change, relative to the size of the outputs; of the means, for a distribution.
        tolerance: Up to which it counts as none: measured rounding; for a distribution half the width of the
            confidence interval of the mean difference, where the two are closest.
        control: The same as error for a random move of the parameters of the same length. A verdict that holds while
            this one is below the tolerance as well has shown nothing.
        draws: How often parameters and data were drawn.
        confidence: Of a distribution: an expectation that does stay is found to hold with this probability. None for
            the other kinds, which are decided by rounding.
    """

    kind: Kind
    of: Of
    holds: bool
    error: float
    tolerance: float
    control: float
    draws: int
    confidence: float | None = None

    @property
    def decisive(self) -> bool:
        """Would the trial have noticed? True if it failed, or if a random move of the same length fails it."""
        return not self.holds or self.control > self.tolerance

    def __str__(self) -> str:
        """One sentence."""
        what = f"{self.kind.value} symmetry (Def. {self.kind.definition}) of the {self.of}"
        how = f"{self.error:.1e} {'<=' if self.holds else '>'} {self.tolerance:.1e}, {self.draws} draws"
        sure = "" if self.confidence is None else f", confidence {self.confidence:g}"
        void = "" if self.decisive else "; a random move would pass as well"
        return f"{'a' if self.holds else 'no'} {what}: {how}{sure}{void}"


def is_symmetry(
    transformation: Transformation,
    problem: Problem,
    kind: Kind | str,
    *,
    of: Of | None = None,
    draws: int = 5,
    batch: int = 4,
    samples: int = 20_000,
    confidence: float = 0.999,
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
) -> Verdict:
    r"""Try whether a transformation is a symmetry of a kind.

    Parameters and data are drawn several times, in float64, and outputs compared before and after. What rounding may do
    is measured: parameters before and after the transformation are shaken by one rounding each, and 1000 times what
    the outputs then change by is the tolerance. An expectation is compared by the mean of paired differences over
    many samples, with simultaneous normal confidence intervals for all its components in all draws (Bonferroni): so
    "holds" says that zero lies in each, and `tolerance` how large a difference could hide there.

    A transformation that takes data, too, is a data-dependent one. It gets the batch that it must keep; under the
    other kinds it gets one batch, and is judged on others.

    Args:
        transformation: Takes parameters by name, or parameters and a batch, and returns those that it moves.
        problem: The network and the loss.
        kind: What has to be kept, a `Kind` or its value.
        of: "network" or "loss", for the two kinds that may be asked of either ("network" by default); the first two
            kinds say it themselves.
        draws: How often parameters and data are drawn.
        batch: Samples that are drawn at a time.
        samples: For a distribution, samples that its expectation is estimated from.
        confidence: For a distribution; see `Verdict`.
        tolerance: For the other kinds, in place of the measured one: for symmetries up to the eps of a norm, say.
        generator: Source of the random numbers; one of seed 0 if None.

    Returns:
        The verdict, with the measured error and its tolerance.

    Raises:
        TypeError: If the transformation returns no dict of tensors.
        ValueError: If an argument is none of the above, the transformation returns parameters that the problem lacks or
            of another shape, or outputs are not finite or so sensitive to rounding that nothing can be told.

    References:
        Dissertation, Definitions 1.2.1, 1.3.1, 1.3.4, 1.3.6.
    """
    kind, of = _checked(kind, of, draws, batch, samples, confidence, tolerance)
    random = torch.Generator().manual_seed(0) if generator is None else generator
    function = problem.loss if of == "loss" else problem.network
    trial = _Trial(transformation, problem, function, kind, batch, random)
    with torch.no_grad():
        if kind is Kind.DISTRIBUTION:
            return trial.expectation(of, draws, samples, confidence)
        return trial.pointwise(of, draws, tolerance)


@dataclass(frozen=True)
class _Trial:
    transformation: Transformation
    problem: Problem
    function: Function
    kind: Kind
    batch: int
    random: torch.Generator

    def pointwise(self, of: Of, draws: int, tolerance: float | None) -> Verdict:
        error = control = noise = 0.0
        for _ in range(draws):
            theta = self.problem.draw_parameters(self.random)
            given = self.problem.draw_data(self.batch, self.random)
            new = self.kind is not Kind.DATA_DEPENDENT and self._takes_data
            x = self.problem.draw_data(self.batch, self.random) if new else given
            moved = self._moved(theta, given)
            before, after = self._before(theta, x), self.function(moved, x)
            size = _size(before)
            error = max(error, _far(after, before) / size)
            control = max(control, _far(self.function(self._random_move(theta, moved), x), before) / size)
            shaken = (
                _far(self.function(self._shaken(theta), x), before),
                _far(self.function(self._shaken(moved), x), after),
                _far(self.function(self._moved(self._shaken(theta), given), x), after),
            )
            noise = max(noise, max(shaken) / size)
        limit = ROUNDINGS * max(noise, EPS) if tolerance is None else tolerance
        if tolerance is None and limit > ILL and error <= limit:
            raise ValueError(
                f"is_symmetry: outputs must not be too sensitive to rounding; got a relative change of {noise:.1e} "
                "from one rounding of the parameters; try a smaller element, or give a tolerance."
            )
        return Verdict(self.kind, of, error <= limit, error, limit, control, draws)

    def expectation(self, of: Of, draws: int, samples: int, confidence: float) -> Verdict:
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(draws):
            theta = self.problem.draw_parameters(self.random)
            moved = self._moved(theta, self.problem.draw_data(self.batch, self.random))
            x = self.problem.draw_data(samples, self.random)
            before = self._before(theta, x)
            if before.dim() == 0 or len(before) != samples:
                raise ValueError(
                    f"is_symmetry: an expectation needs a value per sample; got outputs {tuple(before.shape)} for "
                    f"{samples} samples; let the cost keep the samples apart."
                )
            size = before.square().mean().sqrt().clamp_min(torch.finfo(before.dtype).tiny)
            ends = (self.function(moved, x), self.function(self._random_move(theta, moved), x))
            differences = [(end - before).reshape(samples, -1) / size for end in ends]
            spread = differences[0].std(0) / sqrt(samples)
            found.append((differences[0].mean(0).abs(), spread, differences[1].mean(0).abs()))
        error, spread, control = (torch.cat([f[i] for f in found]) for i in range(3))
        normal = torch.distributions.Normal(0.0, 1.0)
        z = normal.icdf(torch.tensor(1 - (1 - confidence) / (2 * len(error)), dtype=torch.float64))
        width = z * spread + ROUNDINGS * EPS
        worst = int((error / width).argmax())
        return Verdict(
            self.kind,
            of,
            bool((error <= width).all()),
            float(error[worst]),
            float(width[worst]),
            float(control.max()),
            draws,
            confidence,
        )

    @property
    def _takes_data(self) -> bool:
        required = [
            p
            for p in inspect.signature(self.transformation).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        return len(required) > 1

    def _before(self, theta: Tensors, x: Any) -> Tensor:
        before = self.function(theta, x)
        if not bool(before.isfinite().all()):
            raise ValueError(
                "is_symmetry: outputs must be finite where parameters and data are drawn; got inf or nan; draw "
                "smaller ones, or where the function is defined."
            )
        return before

    def _moved(self, theta: Tensors, data: Any) -> Tensors:
        # Copies: a transformation in place would be compared with itself.
        own = {name: t.clone() for name, t in theta.items()}
        moved = self.transformation(own, data) if self._takes_data else self.transformation(own)  # type: ignore[call-arg]
        known = isinstance(moved, Mapping)
        if wrong := [t for t in moved.values() if not isinstance(t, Tensor)] if known else [moved]:
            raise TypeError(
                f"is_symmetry: a transformation must return a dict of tensors by name; got {type(wrong[0]).__name__}; "
                "return the parameters that it moves."
            )
        for name, t in moved.items():
            if name not in theta or t.shape != theta[name].shape:
                raise ValueError(
                    f"is_symmetry: a transformation must return parameters of the problem; got {name} of shape "
                    f"{tuple(t.shape)}; the problem has { {n: tuple(p.shape) for n, p in theta.items()} }."
                )
        return theta | dict(moved)

    def _shaken(self, theta: Tensors) -> Tensors:
        return tree_map(lambda t: t * (1 + EPS * self._normal(t)), theta)

    def _random_move(self, theta: Tensors, moved: Tensors) -> Tensors:
        """Another move of the parameters, of the same length each."""
        away = {name: self._normal(t) for name, t in theta.items()}
        return {
            name: t + away[name] * ((moved[name] - t).norm() / away[name].norm().clamp_min(EPS))
            for name, t in theta.items()
        }

    def _normal(self, t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=self.random, dtype=t.dtype)


def _far(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape or not bool(a.isfinite().all()):
        return float("inf")
    return float((a - b).abs().max()) if a.numel() else 0.0


def _size(y: Tensor) -> float:
    return float(y.abs().max()) or 1.0 if y.numel() else 1.0


def _checked(
    kind: Kind | str,
    of: Of | None,
    draws: int,
    batch: int,
    samples: int,
    confidence: float,
    tolerance: float | None,
) -> tuple[Kind, Of]:
    try:
        kind = Kind(kind)
    except ValueError:
        known = ", ".join(repr(k.value) for k in Kind)
        raise ValueError(f"is_symmetry: kind must be one of {known}; got {kind!r}.") from None
    own: dict[Kind, Of] = {Kind.NETWORK: "network", Kind.LOSS: "loss"}
    if of not in (None, "network", "loss") or (of is not None and own.get(kind, of) != of):
        raise ValueError(
            f"is_symmetry: of must be 'network' or 'loss', and that of the kind; got {of!r} for {kind.value!r}."
        )
    for name, value, least in (("draws", draws, 1), ("batch", batch, 1), ("samples", samples, 100)):
        if not is_whole(value, least):
            raise ValueError(f"is_symmetry: {name} must be an integer, at least {least}; got {value!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"is_symmetry: confidence must lie between 0 and 1; got {confidence!r}.")
    if tolerance is not None and (kind is Kind.DISTRIBUTION or not (is_length(tolerance) and tolerance >= 0)):
        raise ValueError(
            f"is_symmetry: tolerance must be a number from 0 on, and not for a distribution; got {tolerance!r} for "
            f"{kind.value!r}; expectations are told apart by samples and confidence."
        )
    return kind, own.get(kind, of or "network")
