"""Checking symmetries on the model itself, in float64, at a generic point of its parameter space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from isoloss.finding._tape import tensors_in
from isoloss.finding._world import Float64World, settings, without_trace
from isoloss.groups import Permutation, SignFlip, Translation
from isoloss.symmetry import Block, Symmetry

# Float64 carries 16 digits; a forward pass and a well-conditioned element lose at most six of them.
TOLERANCE = 1e-10
# A symmetry up to eps changes the outputs by about eps over what is normalized.
NEARLY = 1e-2
# A function that a slot matters to changes by far more than rounding when the slot is left behind.
BROKEN = 1e-7
# Inputs so many times as large as the examples, on which relations must hold that were read off numbers.
SCALES = (3.0, 0.3, 10.0, 30.0, 300.0)
# Shifts are so many times longer on larger inputs: what cancels costs two digits, which deep models need.
LONGEST = 30.0
# How differently other inputs are drawn, see `redrawn`; the first that the model can take is used.
BOLDNESS = (2, 1, 0)
POOL = 1_000_003
# So many points are tried before a slot is said to be idle, and a weight to be out of reach.
ATTEMPTS = 12
FEW = 3
# So many forward passes at the most check all the symmetries of a model of at most so many parameters, several at
# once if need be.
ROUNDS = ((1_000_000, 64), (50_000_000, 4), (float("inf"), 2))


class Verifier:
    """A float64 copy of a model that symmetries are tried on.

    The parameters are first moved off their initial values: a bias of zeros or a norm weight of ones would hide
    that a symmetry forgets to move it.

    Args:
        twin: The copy; its tensors are replaced while a symmetry is tried, and restored.
        args: Positional inputs in float64.
        kwargs: Keyword inputs.
        tensors: Its parameters and buffers that may move, by name.
        home: The same tensors of the model itself, which are only read.
        seed: Seed of the perturbation and of the sampled elements.
        wander: May it move to other points and inputs?
    """

    def __init__(
        self,
        twin: nn.Module,
        args: tuple,
        kwargs: dict[str, Any],
        tensors: dict[str, Tensor],
        home: Mapping[str, Tensor],
        seed: int = 0,
        wander: bool = True,
    ):
        self.twin, self.args, self.kwargs, self.tensors = twin, args, kwargs, tensors
        self.random = torch.Generator().manual_seed(seed)
        self._examples, self._named_examples = args, kwargs
        self._home = home
        self._order = {n: i for i, n in enumerate(tensors)}
        self._sizes = {n: _rms(home[n]) for n in tensors}
        self._references: dict[bool, list[Tensor]] = {}
        self._pool: Tensor | None = None
        self._scale = 1.0
        self._wander = wander
        # The seed of the point where the copy is; None is home.
        self._point: int | None = None
        self.perturb()
        if self._point is not None and not all(_is_sane(t) for t in self.reference(False)):
            self._point = None
            self._settle(tensors)

    def perturb(self) -> None:
        """Move to another generic point, as far from home as the last one was."""
        if not self._wander:
            return
        self._point = int(torch.randint(2**40, (), generator=self.random))
        self._settle(self.tensors)

    @torch.no_grad()
    def _settle(self, names: Iterable[str]) -> None:
        """Put tensors where the copy is; called at a new point, and to undo a move.

        A point is where the model was plus noise that its seed gives again, so that no copy of it has to be kept.
        """
        if names is self.tensors:
            self._references.clear()
        for name in names:
            t = self.tensors[name]
            t.copy_(self._home[name])
            if self._point is None:
                continue
            noise = self._noise(name, t)
            if name.endswith("running_var"):
                t.mul_((0.2 * next(noise)).exp_().view(t.shape))
                continue
            # Dense tensors in whatever order of their axes: the noise fills the memory from its beginning.
            flat = t.permute(sorted(range(t.ndim), key=lambda axis: -t.stride(axis))).view(-1)
            for part in flat.split(POOL):
                part.add_(next(noise)[: len(part)], alpha=0.2 * self._sizes[name] + 0.02)

    def _noise(self, name: str, t: Tensor) -> Iterator[Tensor]:
        """Normal numbers for each POOL entries; large tensors read the same ones again and again.

        The length of the pool is prime: no two rows of a matrix read the same numbers.
        """
        assert self._point is not None
        own = torch.Generator().manual_seed(self._point + POOL * self._order[name])
        if t.numel() <= POOL:
            return repeat(torch.randn(t.numel(), generator=own, dtype=t.dtype).to(t.device), 1)
        if self._pool is None:
            self._pool = torch.randn(POOL, generator=torch.Generator().manual_seed(POOL), dtype=torch.float64)
        start = int(torch.randint(POOL, (), generator=own))
        return repeat(self._pool.roll(start).to(t.device, t.dtype))

    def vary(self, scale: float = 1.0) -> None:
        """Take other inputs like the examples: the boldest that the model can take.

        Args:
            scale: So many times as large as the examples.
        """
        self._scale = max(1.0, scale)
        for boldness in BOLDNESS if self._wander else ():
            self.args, self.kwargs = tree_map(
                lambda x, b=boldness: redrawn(x, scale, b, self.random),
                (self._examples, self._named_examples),
            )
            self._references.clear()
            try:
                if all(_is_sane(t) for t in self.reference(False)):
                    return
            except (
                Exception
            ):  # lengths that must be sorted, a logarithm: whatever the model asks of its inputs
                continue
        self.return_to_examples()

    def return_to_examples(self) -> None:
        """Take the example inputs again."""
        self.args, self.kwargs, self._scale = self._examples, self._named_examples, 1.0
        self._references.clear()

    def elsewhere(self, symmetries: Sequence[Symmetry], scales: Sequence[float] = SCALES) -> list[Symmetry]:
        """Those that also hold at other points and on inputs of other sizes.

        A relation that was read off numbers may be one of the examples: where every unit of a ReLU layer keeps its
        sign, the layer is linear, and has the symmetries of a linear one.
        """
        kept = list(symmetries)
        for scale in scales if _small(self.tensors) else scales[:1]:
            if not kept:
                break
            self.perturb()
            self.vary(scale)
            errors = {key_of(s): s.error for s in self.verified(kept)[0]}
            kept = [
                replace(s, error=max(s.error or 0.0, errors[key_of(s)] or 0.0))
                for s in kept
                if key_of(s) in errors
            ]
        self.return_to_examples()
        return kept

    def outputs(self, without_eps: bool = False) -> list[Tensor]:
        """What the copy computes now; it is afterwards as it was."""
        with without_trace(self.twin), settings(), torch.no_grad(), Float64World(without_eps=without_eps):
            return [t.detach().clone() for t in tensors_in(self.twin(*self.args, **self.kwargs))]

    def reference(self, without_eps: bool) -> list[Tensor]:
        """What it computes where nothing has been moved."""
        if without_eps not in self._references:
            self._references[without_eps] = self.outputs(without_eps)
        return self._references[without_eps]

    @torch.no_grad()
    def change(self, names: Iterable[str], move: Callable[[], None], without_eps: bool = False) -> float:
        """Largest relative change of an output when these tensors are moved, which is then undone."""
        before = self.reference(without_eps)
        try:
            move()
            after = self.outputs(without_eps)
        finally:
            self._settle(list(names))
        return max((relative_change(a, b) for a, b in zip(before, after, strict=True)), default=0.0)

    def error(self, symmetries: Sequence[Symmetry], without_eps: bool = False) -> float:
        """Relative change of the outputs under one random element of each of these, all at once."""
        elements = [self._element(s) for s in symmetries]

        def move() -> None:
            for s, g in zip(symmetries, elements, strict=True):
                s.act_(g, self.tensors)

        return self.change({n: None for s in symmetries for n in s.parameters}, move, without_eps)

    def verified(self, symmetries: Sequence[Symmetry]) -> tuple[list[Symmetry], list[str]]:
        """Those that hold, each with its error, and a note for each that does not."""
        kept, notes = [], []
        parameters = _count(self.tensors)
        order = {n: i for i, n in enumerate(self.tensors)}
        rounds = next(n for limit, n in ROUNDS if parameters <= limit)
        for exact in (True, False):
            # Neighbours together, so that a round moves a part of the model and not all of it.
            some = sorted((s for s in symmetries if s.exact == exact), key=lambda s: order[s.parameters[0]])
            size = -(-len(some) // rounds) if some else 1
            for i in range(0, len(some), size):
                good, bad = self._bisect(some[i : i + size], not exact)
                kept += good
                notes += bad
        place = {key_of(s): i for i, s in enumerate(symmetries)}
        return sorted(kept, key=lambda s: place[key_of(s)]), notes

    def _bisect(self, some: list[Symmetry], without_eps: bool) -> tuple[list[Symmetry], list[str]]:
        error, tolerance = self.error(some, without_eps), TOLERANCE
        if without_eps and not all(bool(t.isfinite().all()) for t in self.reference(True)):
            # Something is zero before its norm, and without eps there is nothing to compare; with it there is.
            error, tolerance = self.error(some), NEARLY
        if error <= tolerance and without_eps:
            # Up to eps: what matters is how much the outputs change with it.
            error, tolerance = self.error(some), NEARLY
        if error <= tolerance:
            return [replace(s, error=error) for s in some], []
        if len(some) == 1:
            s = some[0]
            return [], [
                f"{s.family} {s.name} on {', '.join(s.parameters[:3])}: "
                f"the outputs changed by {error:.1e}, more than {tolerance:.0e}"
            ]
        half = len(some) // 2
        left, right = self._bisect(some[:half], without_eps), self._bisect(some[half:], without_eps)
        return left[0] + right[0], left[1] + right[1]

    def controls(self, symmetry: Symmetry) -> list[float]:
        """The negative control: for each slot, how much the outputs change if it alone is left behind.

        A slot that changes nothing is tried again at other points, with other inputs and elements: a permutation may
        have drawn two dead units. What still changes nothing is idle: it moves something that the outputs never see,
        such as a key bias, or running statistics in training. A symmetry with a single slot has nothing to leave
        behind; its block is shaken instead.

        Returns:
            The largest relative change for each slot.
        """
        found = [0.0] * len(symmetry.slots)
        for attempt in range(ATTEMPTS):
            todo = [i for i, c in enumerate(found) if c <= BROKEN]
            if not todo:
                break
            if attempt:
                self.perturb()
                self.vary()
            g = self._element(symmetry)
            for i in todo:
                found[i] = max(found[i], self._left_behind(symmetry, g, i))
        self.return_to_examples()
        return found

    def _element(self, symmetry: Symmetry) -> Tensor:
        """A random element; of a finite group one that is nowhere the identity, for that would show nothing."""
        # A short shift would seldom be seen by what jumps at regular distances.
        longest = LONGEST if _count(self.tensors) <= ROUNDS[0][0] else 1.0
        size = 0.3 * min(self._scale, longest) if isinstance(symmetry.group, Translation) else 0.3
        g = symmetry.sample(size, self.random, dtype=torch.float64)
        if isinstance(symmetry.group, Permutation):
            # The cycle through all indices, in the order that was drawn.
            return torch.empty_like(g).scatter_(-1, g, g.roll(-1, -1))
        if isinstance(symmetry.group, SignFlip):
            return torch.where((g == 1).all(-1, keepdim=True), -g, g)
        return g

    def _left_behind(self, symmetry: Symmetry, g: Tensor, i: int) -> float:
        slots = symmetry.slots
        if len(slots) == 1:
            return self.shaken(symmetry)
        rest = replace(symmetry, slots=slots[:i] + slots[i + 1 :])
        return self.change(rest.parameters, lambda: rest.act_(g, self.tensors), not symmetry.exact)

    def sees(self, name: str, block: Block) -> bool:
        """Whether the outputs depend on a block, here or at one of a few other points, smoothly or not."""

        def move() -> None:
            t = block.view(self.tensors[name])
            t.add_(
                torch.randn(t.shape, generator=self.random, dtype=t.dtype).to(t.device), alpha=_rms(t) + 0.1
            )

        try:
            for attempt in range(FEW):
                if attempt:
                    self.perturb()
                    self.vary()
                if self.change([name], move) > BROKEN:
                    return True
            return False
        finally:
            self.return_to_examples()

    def shaken(self, symmetry: Symmetry) -> float:
        """How much the outputs change when the blocks of a symmetry move at random instead."""

        def move() -> None:
            for slot in symmetry.slots:
                view = slot.block.view(self.tensors[slot.parameter])
                noise = torch.randn(view.shape, generator=self.random, dtype=view.dtype).to(view.device)
                view.add_(noise, alpha=0.1)

        return self.change(symmetry.parameters, move, not symmetry.exact)


def relative_change(before: Tensor, after: Tensor) -> float:
    """Largest difference over largest size; infinities must stay where they are."""
    if before.shape != after.shape:
        return float("inf")
    if not before.is_floating_point() and not before.is_complex():
        return 0.0 if torch.equal(before, after) else float("inf")
    finite = before.isfinite()
    if not torch.equal(finite, after.isfinite()) or not torch.equal(before[~finite], after[~finite]):
        return 0.0 if torch.equal(before.nan_to_num(), after.nan_to_num()) else float("inf")
    a, b = before[finite], after[finite]
    if not a.numel():
        return 0.0
    size = a.abs().max().item()
    return (a - b).abs().max().item() / size if size else (0.0 if torch.equal(a, b) else float("inf"))


def _rms(t: Tensor) -> float:
    wide = torch.promote_types(t.dtype, torch.float32)
    return float(torch.linalg.vector_norm(t.detach(), dtype=wide)) / max(t.numel(), 1) ** 0.5


def _count(tensors: dict[str, Tensor]) -> int:
    return sum(t.numel() for t in tensors.values())


def _small(tensors: dict[str, Tensor]) -> bool:
    return _count(tensors) < 10_000_000


def key_of(symmetry: Symmetry) -> tuple:
    """What a symmetry is, whatever its error."""
    return symmetry.group, symmetry.slots


def redrawn(x: Any, scale: float, boldness: int, random: torch.Generator) -> Any:
    """Another input like this one: what holds for the examples only should break.

    Numbers become normal, or keep their common sign; a tensor of one value is no example of anything, and varies as
    well; integers are drawn between the smallest and the largest; masks are tossed. Infinities stay.

    Args:
        x: A tensor; anything else is returned.
        scale: So many times as large.
        boldness: 2 draws all anew; 1 keeps common signs; 0 also keeps integers, masks and constants.
        random: Source of random numbers.
    """
    if not isinstance(x, Tensor) or not x.numel() or x.is_complex():
        return x
    low, high = x.min(), x.max()
    mask = x.dtype == torch.bool or bool(((x == 0) | (x == 1)).all() and low != high)
    if mask or not x.is_floating_point():
        if not boldness:
            return x
        if mask:
            share = x.double().mean().clamp(0.2, 0.8)
            return (torch.rand(x.shape, generator=random) < share.cpu()).to(x.device, x.dtype)
        drawn = torch.randint(int(low), int(high) + 1, x.shape, generator=random)
        return drawn.to(x.device, x.dtype)
    if not bool(x.isfinite().all()) or (low == high and not boldness):
        return x
    noise = torch.randn(x.shape, generator=random, dtype=torch.float64).to(x.device, x.dtype)
    mean, size = x.mean(), x.std(correction=0)
    if boldness < 2 and low * high >= 0 and mean != 0:
        return scale * mean * noise.exp()
    return mean + scale * (size if low != high else mean.abs().clamp(min=1.0)) * noise


def _is_sane(t: Tensor) -> bool:
    return not t.numel() or (not bool(t.isnan().any()) and bool(t.isfinite().any()))
