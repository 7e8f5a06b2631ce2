"""What one architecture of the zoo is: how to build it, and the symmetries that theory says it has.

Four ledgers, all in numbers of continuous dimensions, each number beside its one-line reason:

- ``terms``: exact symmetries of the documented catalogue (the textbook ones and families 1 to 7 of the design);
  their sum is ``dimension``, what a complete finder must report. ``None`` where theory gave no sure answer.
- ``beyond``: directions that really leave the function unchanged but belong to no family of the catalogue (rank
  deficits, nonlinear actions, ...). ``dimension + sum(beyond)`` is the nullity of the Jacobian.
- ``moving``: further dimensions if running statistics may move along with the parameters.
- ``approximate``: scalings exact only up to the eps of a norm. They are not part of the nullity.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Built = tuple[nn.Module, Any]


@dataclass(frozen=True)
class Expected:
    """One symmetry that must be found: group class, size n, batch, and parameters it must (at least) move.

    ``None`` for size or batch: several choices describe the same symmetry, any will do.
    """

    group: str
    size: int | None
    batch: tuple[int, ...] | None
    slots: frozenset[str]

    def matches(self, symmetry: Any) -> bool:
        """Whether a found symmetry is this one."""
        return (
            type(symmetry.group).__name__ == self.group
            and self.size in (None, symmetry.group.n)
            and (self.batch is None or self.batch == tuple(symmetry.batch))
            and self.slots <= set(symmetry.parameters)
        )


@dataclass(frozen=True)
class Entry:
    """An architecture with its expected symmetries."""

    name: str
    family: str
    builder: Callable[[], Built]
    terms: Mapping[str, int] | None
    beyond: Mapping[str, int]
    moving: Mapping[str, int]
    approximate: Mapping[str, int]
    contains: tuple[Expected, ...]
    rigid: frozenset[str]  # parameters that no symmetry at all may move
    not_group: tuple[tuple[str, str], ...]  # (group class, parameter) that must not occur together
    vocabulary: int  # integer inputs are drawn from range(vocabulary)
    train: bool
    frozen: tuple[str, ...]  # parameters with requires_grad False
    requires: str | None
    seed: int
    measured: int | None  # nullity measured where terms is None (or not to be trusted to equal it)
    scale: float  # of the float inputs with which the nullity is measured

    @property
    def dimension(self) -> int | None:
        """Continuous dimension of the orbit under the exact symmetries of the catalogue."""
        return None if self.terms is None else sum(self.terms.values())

    @property
    def nullity(self) -> int | None:
        """Null-space dimension of the Jacobian of the outputs, all parameters counted."""
        if self.terms is None or self.measured is not None:
            return self.measured
        return sum(self.terms.values()) + sum(self.beyond.values())

    def build(self) -> Built:
        """A fresh model at a generic point of its parameters, in eval mode unless ``train``, and its inputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model, inputs = self.builder()
            generic_(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in self.frozen)
        return model.train(self.train), inputs

    def draw(self, generator: torch.Generator) -> Any:
        """Fresh inputs shaped like the example: normal floats, uniform integers; booleans stay."""
        return redraw(self.build()[1], self.vocabulary, self.scale, generator)


ENTRIES: dict[str, Entry] = {}


def entry(
    terms: Mapping[str, int] | None,
    contains: Iterable[Expected] = (),
    *,
    beyond: Mapping[str, int] | None = None,
    moving: Mapping[str, int] | None = None,
    approximate: Mapping[str, int] | None = None,
    rigid: Iterable[str] = (),
    not_group: Iterable[tuple[str, str]] = (),
    vocabulary: int = 0,
    train: bool = False,
    frozen: Iterable[str] = (),
    requires: str | None = None,
    seed: int = 0,
    measured: int | None = None,
    scale: float = 1.5,
    name: str | None = None,
) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Put the decorated builder into the zoo, under its own name or ``name``."""

    def register(builder: Callable[[], Built]) -> Callable[[], Built]:
        key = name or builder.__name__
        if key in ENTRIES:
            raise ValueError(f"zoo: names are unique; got {key!r} twice; rename one.")
        ENTRIES[key] = Entry(
            name=key,
            family=builder.__module__.rpartition(".")[2],
            builder=builder,
            terms=terms,
            beyond=beyond or {},
            moving=moving or {},
            approximate=approximate or {},
            contains=tuple(contains),
            rigid=frozenset(rigid),
            not_group=tuple(not_group),
            vocabulary=vocabulary,
            train=train,
            frozen=tuple(frozen),
            requires=requires,
            seed=seed,
            measured=measured,
            scale=scale,
        )
        return builder

    return register


def _expected(group: str) -> Callable[..., Expected]:
    def make(size: int | None, *slots: str, batch: tuple[int, ...] | None = ()) -> Expected:
        return Expected(group, size, batch, frozenset(slots))

    return make


scaling = _expected("PositiveScaling")
permutation = _expected("Permutation")
sign = _expected("SignFlip")
linear = _expected("GeneralLinear")
orthogonal = _expected("Orthogonal")
complex_scaling = _expected("ComplexScaling")


def translation(*slots: str) -> Expected:
    """A translation through these parameters; how it is cut into vectors is up to the finder."""
    return Expected("Translation", None, None, frozenset(slots))


@torch.no_grad()
def generic_(model: nn.Module) -> None:
    """Move parameters and statistics to a generic point: special ones (zero bias, unit weight) have larger
    stabilizers and smaller orbits than the architecture promises."""
    for name, p in model.named_parameters():
        if not p.is_floating_point():
            continue
        if p.dim() >= 2 and not name.endswith("original0"):
            fan_in = max(p[0].numel(), 1)
            p.normal_(0, 1.3 * fan_in**-0.5 if "emb" not in name else 1.0)
        elif "bias" in name.rpartition(".")[2]:
            p.normal_(0, 0.5)
        else:
            p.uniform_(0.5, 1.5)
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.normal_(0, 0.3)
        elif name.endswith("running_var"):
            b.uniform_(0.5, 1.5)


def redraw(inputs: Any, vocabulary: int, scale: float, generator: torch.Generator) -> Any:
    """Random inputs of the same structure, shapes and dtypes."""
    if isinstance(inputs, Tensor):
        if inputs.is_floating_point():
            draw = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
            return (scale * draw).to(inputs.dtype)
        if inputs.dtype == torch.bool:
            return inputs
        return torch.randint(vocabulary, inputs.shape, generator=generator, dtype=inputs.dtype)
    if isinstance(inputs, dict):
        return {k: redraw(v, vocabulary, scale, generator) for k, v in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(redraw(v, vocabulary, scale, generator) for v in inputs)
    return inputs


def leaky(x: Tensor) -> Tensor:
    """Both slopes matter, so that no unit looks dead or linear to the null space."""
    return F.leaky_relu(x, 0.3)


class Lambda(nn.Module):
    """A function as a module."""

    def __init__(self, f: Callable[..., Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, *args: Tensor) -> Tensor:
        return self.f(*args)
