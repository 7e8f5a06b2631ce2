"""Everything that gradient flow conserves in a model: from its symmetries, by name."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from isoloss.flow._field import Rates, checked_rates
from isoloss.flow._quantity import Quantity, distinct_names, named
from isoloss.flow._sums import Sums
from isoloss.flow._trajectory import Trajectory
from isoloss.symmetry import Symmetries, Symmetry, named_tensors


class ConservedQuantities(Mapping[str, Quantity]):
    """Conserved quantities by name, evaluated for the whole model at once.

    Args:
        quantities: The quantities, with distinct names.
        notes: Which symmetries have none, and why.
        shapes: Of the parameters, by name, where they are known; others are refused then.
    """

    def __init__(
        self,
        quantities: Iterable[Quantity],
        notes: Iterable[str] = (),
        shapes: Mapping[str, torch.Size] | None = None,
    ):
        self._items = {q.name: q for q in quantities}
        self._sums: tuple[tuple, Sums] | None = None
        self.shapes = {n: s for n, s in (shapes or {}).items() if n in self.parameters}
        self.notes = tuple(notes)

    def __getitem__(self, name: str) -> Quantity:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def count(self) -> int:
        """Number of independent numbers in all of them."""
        return sum(q.count for q in self._items.values())

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that they are made of."""
        return tuple(dict.fromkeys(n for q in self._items.values() for n in q.parameters))

    def evaluate(self, tensors: Mapping[str, Tensor] | nn.Module) -> dict[str, Tensor]:
        """All quantities by name; equal to `Quantity.value` of each, and much faster.

        Args:
            tensors: Parameters by name, or the module that has them.

        Raises:
            ValueError: If a parameter is missing, or has another shape than in the model of the symmetries.
        """
        sums, here = self._ready(tensors)
        return dict(zip(self._items, sums.values(here), strict=True))

    def measured(self, tensors: Mapping[str, Tensor] | nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
        """Every quantity with its size: the sum of the absolute values of the terms that it is made of.

        Args:
            tensors: As in `evaluate`.
        """
        sums, here = self._ready(tensors)
        return dict(zip(self._items, sums(here), strict=True))

    def _ready(self, tensors: Mapping[str, Tensor] | nn.Module) -> tuple[Sums, dict[str, Tensor]]:
        here = dict(tensors.named_parameters()) if isinstance(tensors, nn.Module) else tensors
        missing = [n for n in self.parameters if n not in here]
        if missing:
            raise ValueError(
                f"ConservedQuantities: every parameter must be there; got none named {missing[0]}; "
                "these quantities belong to another model."
            )
        here = {n: here[n].detach() for n in self.parameters}
        key = tuple((n, t.shape, t.dtype, t.device) for n, t in here.items())
        if self._sums is None or self._sums[0] != key:
            for name, known in self.shapes.items():
                if here[name].shape != known:
                    raise ValueError(
                        f"ConservedQuantities: {name} must have the shape {tuple(known)}; got "
                        f"{tuple(here[name].shape)}; these quantities belong to another model."
                    )
            self._sums = key, Sums(list(self._items.values()), here)
        return self._sums[1], here

    def along(self, trajectory: Trajectory) -> dict[str, Tensor]:
        """All quantities at all times of a trajectory, by name, shape (times, *shape)."""
        rows = [self.evaluate(trajectory[i]) for i in range(len(trajectory))]
        return {name: torch.stack([row[name] for row in rows]) for name in self}

    def drift(self, trajectory: Trajectory) -> dict[str, Tensor]:
        r"""How far each has come from its first value, relative to its size at the start, shape (times,).

        .. math:: \lVert Q(t) - Q(0) \rVert \,/\, \operatorname{tr}(P(0) + N(0)), \qquad Q = P - N

        Not relative to Q itself, which is zero in a balanced network. Absolute where the size is zero, as of biases
        that start at zero.

        References:
            Dissertation, Eq. (A.29), which divides by the same sum.
        """
        start = self.measured(trajectory[0])
        values = self.along(trajectory)
        return {
            name: (values[name] - value).flatten(1).norm(dim=1) / torch.where(size > 0, size, 1.0)
            for name, (value, size) in start.items()
        }

    def __repr__(self) -> str:
        return f"ConservedQuantities({len(self)} quantities, {self.count} numbers)"

    def __str__(self) -> str:
        rows = [(q.name, str(q.shape), str(q.count)) for q in self._items.values()]
        head = ("quantity", "shape", "numbers")
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(3)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
        ]
        return "\n".join([*lines, *(f"none for {note}" for note in self.notes)])


def conserved_quantities(symmetries: Symmetries, *, rates: Rates | None = None) -> ConservedQuantities:
    r"""What gradient flow conserves: for every symmetric generator M of every symmetry the number Q_M.

    .. math:: Q_M(\theta) = \langle \varepsilon^{-1} \theta, M \cdot \theta \rangle

    Discrete groups have no generators; rotations only antisymmetric ones, whose law is `angular_momentum`; actions
    that are not linear (a translation that passes through a weight) have in general no quantity. A symmetry that
    moves a frozen parameter is none of the flow; nor is one that moves buffers, unless they are the running
    statistics of a norm in training mode, which the loss does not see.

    Args:
        symmetries: As found in a model.
        rates: Learning rates :math:`\varepsilon` by parameter, if they are not equal; only their ratios matter.

    Returns:
        The quantities, with notes on what has none.

    Raises:
        ValueError: If there is no quantity.

    References:
        Dissertation, Proposition 2.5.1. Differs: an :math:`\varepsilon` that mixes entries is left out, since the
        proposition needs it to commute with M.
    """
    pairs, notes = conserving(symmetries)
    if not pairs:
        raise ValueError(
            f"conserved_quantities: some symmetry must have a symmetric generator; got {_sorts(symmetries)}"
            + (f" ({notes[0]})" if notes else "")
            + "; scalings, GL and translations have, discrete groups and rotations have not."
        )
    kept = [moving for _, moving in pairs]
    names = dict.fromkeys(n for s in kept for n in s.parameters)
    weights = {n: 1 / r for n, r in checked_rates(rates, _known(symmetries, names), "rates").items()}
    weights = {n: w for n, w in weights.items() if w != 1.0}
    return ConservedQuantities(
        [Quantity(name, s, weights) for name, s in zip(distinct_names(kept), kept, strict=True)],
        notes,
        _shapes(symmetries),
    )


def conserving(symmetries: Symmetries) -> tuple[list[tuple[Symmetry, Symmetry]], list[str]]:
    """Pairs of a symmetry and its part on the parameters that the flow moves; and notes on those without one."""
    model = _model(symmetries)
    pairs, notes = [], []
    for symmetry in symmetries:
        if not symmetry.dim:
            continue
        reason, moving = _moving(symmetry, model)
        if reason:
            notes.append(f"{named(symmetry)}: {reason}")
        else:
            pairs.append((symmetry, moving))
    return pairs, notes


def _model(symmetries: Symmetries) -> nn.Module | None:
    try:
        return symmetries.model
    except ReferenceError:  # symmetries written by hand: all that they move is taken to be trained
        return None


def _moving(symmetry: Symmetry, model: nn.Module | None) -> tuple[str | None, Symmetry]:
    """Why there is no quantity, or None; and the symmetry on the parameters that the flow moves."""
    if not symmetry.group.symmetric_dim:
        return "its generators are antisymmetric; see angular_momentum", symmetry
    if not symmetry.linear:
        return "its action is not linear", symmetry
    tensors = {} if model is None else named_tensors(model)
    held = {} if model is None else dict(model.named_parameters())
    free = set() if model is None else running_statistics(model)
    for name in symmetry.parameters:
        if name in held and not held[name].requires_grad:
            return f"{name} is frozen", symmetry
        if name in tensors and name not in held and name not in free:
            return f"{name} is a buffer that the loss sees", symmetry
    return None, replace(symmetry, slots=tuple(s for s in symmetry.slots if s.parameter not in free))


def running_statistics(model: nn.Module) -> set[str]:
    """Names of the buffers that norms in training mode write but do not read."""
    found = set()
    for prefix, m in model.named_modules():
        if isinstance(m, _NormBase) and m.training and m.track_running_stats:
            found |= {f"{prefix}.{n}" if prefix else n for n, _ in m.named_buffers(recurse=False)}
    return found


def _known(symmetries: Symmetries, names: Mapping[str, None]) -> Mapping:
    model = _model(symmetries)
    return names if model is None else dict(model.named_parameters())


def _shapes(symmetries: Symmetries) -> dict[str, torch.Size]:
    model = _model(symmetries)
    return {} if model is None else {n: p.shape for n, p in model.named_parameters()}


def _sorts(symmetries: Symmetries) -> str:
    found = Counter(s.group.name for s in symmetries)
    return ", ".join(list(found)[:4]) if found else "no symmetry at all"
