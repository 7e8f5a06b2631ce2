"""How the optimizer's state follows a jump: momentum like a gradient, second moments like squared gradients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from isoloss.groups import Permutation, PositiveScaling, SignFlip
from isoloss.symmetry import Symmetry
from isoloss.teleport._matrices import Matrices, are_matrices
from isoloss.teleport._quadratic import widen

Policy = Literal["transport", "keep", "reset"]
POLICIES = ("transport", "keep", "reset")


@dataclass(frozen=True)
class Kind:
    """A kind of tensor with the shape of a parameter, and how it moves with it.

    The rule behind all kinds: after the jump the state is what the optimizer would hold had it seen the transported
    gradients all along. For scalings, signs and permutations that is exact. Matrices mix coordinates: squares go
    with the squared entries of the matrix, which is exact in expectation for uncorrelated gradients, and what has
    been normalized entry by entry is kept.

    Attributes:
        name: As users write it.
        power: It is multiplied by s^(power * charge) when the parameter is by s^charge.
        signed: Does a change of sign change it?
        policy: The argument of `Teleport` that governs it; None if it always moves.
    """

    name: str
    power: int
    signed: bool
    policy: Literal["momentum", "second_moments"] | None


PARAMETER = Kind("parameter", 1, True, None)
GRADIENT = Kind("gradient", -1, True, "momentum")
UPDATE = Kind("update", 0, True, "momentum")
SQUARE = Kind("square", -2, False, "second_moments")
MAGNITUDE = Kind("magnitude", -1, False, "second_moments")
STEP = Kind("step", 0, False, "second_moments")
KINDS = {k.name: k for k in (PARAMETER, GRADIENT, UPDATE, SQUARE, MAGNITUDE, STEP)}

# What becomes of the entries of a matrix that moves them.
ENTRIES = {SQUARE.name: torch.square, MAGNITUDE.name: torch.abs}

KNOWN: dict[str, Kind] = {
    "momentum_buffer": GRADIENT,  # SGD, Muon
    "exp_avg": GRADIENT,  # Adam, AdamW, NAdam, RAdam, Adamax, SparseAdam
    "exp_avg_sq": SQUARE,
    "max_exp_avg_sq": SQUARE,
    "exp_inf": MAGNITUDE,  # Adamax
    "sum": SQUARE,  # Adagrad
    "square_avg": SQUARE,  # RMSprop, Adadelta
    "grad_avg": GRADIENT,  # RMSprop, centered
    "acc_delta": STEP,  # Adadelta
    "prev": GRADIENT,  # Rprop
    "step_size": STEP,
    "ax": PARAMETER,  # ASGD
}
KNOWN_OF: dict[type[Optimizer], dict[str, Kind]] = {
    # RMSprop's momentum sums gradients that were divided by their root mean square.
    torch.optim.RMSprop: {"momentum_buffer": UPDATE},
    torch.optim.Adafactor: {"row_var": SQUARE, "col_var": SQUARE, "variance": SQUARE},
}
# What LBFGS knows of the way it came; without it, and with n_iter = 0, it begins anew.
HISTORY = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss", "al")

COUNTERS = ("step", "mu_product", "mu", "eta")
START = {"mu_product": 1.0, "mu": 1.0}


@dataclass(frozen=True)
class States:
    """One entry of the optimizer's state, for all parameters that have it.

    Attributes:
        key: Its name in the state.
        kind: How it moves.
        tensors: The tensors by the name of the parameter.
        bound: A number that no entry exceeds, if one is known.
    """

    key: str
    kind: Kind
    tensors: dict[str, Tensor]
    bound: float | None = None

    def called(self, name: str) -> str:
        """The entry of one parameter, for messages."""
        return name if self.kind is PARAMETER else f"{self.key} of {name}"

    def writes(self, name: str, new: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """What a new value for one parameter changes: triples (name, tensor, its new value)."""
        return [(self.called(name), self.tensors[name], new)]


@dataclass(frozen=True)
class Factored(States):
    r"""Squares that are known by the means of their rows, r, and columns, c, alone, as Adafactor keeps them.

    .. math:: V = r c^T / \operatorname{mean}(r)

    What moves is this estimate, formed for the jump. Its means are r and c again, and where scalings, signs and
    permutations act along its last two axes it stays of rank one: they move it exactly.

    Attributes:
        means: Tensors r (..., m, 1) and c (..., 1, n) by the name of the parameter; `tensors` are the V.
    """

    means: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, name: str, rows: Tensor, columns: Tensor) -> None:
        """Form the estimate for one more parameter."""
        r, c = widen(rows), widen(columns)
        self.tensors[name] = r @ (c / r.mean(-2, keepdim=True).clamp_min(torch.finfo(r.dtype).tiny))
        self.means[name] = rows, columns

    def writes(self, name: str, new: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """The means of the new estimate."""
        rows, columns = self.means[name]
        return [
            (f"row_var of {name}", rows, new.mean(-1, keepdim=True)),
            (f"col_var of {name}", columns, new.mean(-2, keepdim=True)),
        ]


def states(
    optimizer: Optimizer,
    parameters: Mapping[str, Tensor],
    policies: Mapping[str, Policy],
    kinds: Mapping[str, str],
) -> list[States]:
    """The state that moves with these parameters.

    Args:
        optimizer: Any optimizer that keeps its state by parameter.
        parameters: The parameters by name.
        policies: What to do with "momentum" and "second_moments".
        kinds: For entries that are not known: a kind by its name, or "keep" or "reset".

    Raises:
        ValueError: If the state has an entry that is not known.
    """
    found: dict[str, States] = {}
    factored = Factored("row_var", SQUARE, {})
    for name, p in parameters.items() if optimizer.state else ():
        for key, value in optimizer.state.get(p, {}).items():
            kind = _kind(optimizer, key, value, p, kinds, name)
            if kind is None or (kind.policy is not None and policies[kind.policy] != "transport"):
                continue
            if isinstance(optimizer, torch.optim.Adafactor) and key in ("row_var", "col_var"):
                if key == "row_var" and "col_var" not in kinds:
                    factored.add(name, value, optimizer.state[p]["col_var"])
                continue
            found.setdefault(key, States(key, kind, {})).tensors[name] = value
    return [*found.values(), *([factored] if factored.tensors else [])]


def resets(
    optimizer: Optimizer, policies: Mapping[str, Policy], kinds: Mapping[str, str]
) -> list[tuple[str, Tensor, Tensor]]:
    """What to write where a policy says reset: for every parameter of the optimizer, whether it moves or not.

    If both policies say so, the counters start again as well, and with them Adam's bias correction.

    Returns:
        Triples (name, tensor, its value at the start).

    Raises:
        ValueError: If what is to be reset is neither tensor nor number.
    """
    triples = []
    for entries, key, start in _resetting(optimizer, policies, kinds):
        value = entries[key]
        if isinstance(value, Tensor):
            triples.append((key, value, torch.full_like(value, start)))
        elif value is not None and not isinstance(value, int | float):
            raise ValueError(
                f"Teleport: reset starts tensors and numbers again; got {key!r} of {type(optimizer).__name__}, "
                f"a {type(value).__name__}; choose keep, and start it again yourself."
            )
    return triples


def restart(optimizer: Optimizer, policies: Mapping[str, Policy], kinds: Mapping[str, str]) -> None:
    """What no tensor holds starts again, once the jump is made: plain numbers to be reset, and LBFGS's history.

    The steps and the changes of the gradient that LBFGS remembers belong to another point. It begins anew from the
    one jumped to, whatever the policies.
    """
    for entries, key, start in _resetting(optimizer, policies, kinds):
        if isinstance(entries[key], int | float):
            entries[key] = type(entries[key])(start)
    if isinstance(optimizer, torch.optim.LBFGS):
        for entries in optimizer.state.values():
            entries["n_iter"] = 0
            for key in HISTORY:
                entries.pop(key, None)


def _resetting(
    optimizer: Optimizer, policies: Mapping[str, Policy], kinds: Mapping[str, str]
) -> Iterator[tuple[dict, str, float]]:
    """The state of a parameter, an entry of it that is to be reset, and the value at the start."""
    if "reset" not in (*policies.values(), *kinds.values()):
        return
    fresh = all(policy == "reset" for policy in policies.values())
    for group in optimizer.param_groups:
        for p in group["params"]:
            entries = optimizer.state.get(p, {})
            for key, value in entries.items():
                kind = _kind(optimizer, key, value, p, kinds, "a parameter")
                chosen = kinds.get(key) == "reset" or (
                    kind is not None and policies.get(kind.policy or "") == "reset"
                )
                if chosen or (fresh and key in COUNTERS):
                    yield entries, key, _start(key, group)


class Carrier:
    """Moves tensors of every kind as one element moves the parameters.

    Args:
        symmetry: That of g.
        g: The element.
    """

    def __init__(self, symmetry: Symmetry, g: Tensor):
        self.symmetry, self._g = symmetry, g

    def move_(self, kind: Kind, x: dict[str, Tensor], here: Mapping[str, Tensor]) -> None:
        """Move tensors, given as copies that may be written to.

        Args:
            kind: What they are.
            x: The tensors by the name of the parameter.
            here: The parameters before the move; needed where the action is not linear.
        """
        symmetry, g = self.symmetry, self._g
        match symmetry.group:
            case Permutation():
                x.update(symmetry.transport(g, x, here))
            case SignFlip():
                x.update(symmetry.transport(g, x, here) if kind.signed else {})
            case PositiveScaling() if symmetry.linear:
                x.update(symmetry.charged(kind.power).act(g, x) if kind.power else {})
            case _ if are_matrices(symmetry):
                if kind.power:
                    self._matrices.move_(x, 1 if kind is PARAMETER else -1, ENTRIES.get(kind.name))
            case _ if kind is PARAMETER:
                x.update(symmetry.act(g, x))
            case _ if kind is GRADIENT:
                x.update(symmetry.transport(g, x, here))

    @cached_property
    def _matrices(self) -> Matrices:
        return Matrices(self.symmetry, self._g)


def _kind(
    optimizer: Optimizer, key: str, value, p: Tensor, kinds: Mapping[str, str], name: str
) -> Kind | None:
    """The kind of an entry, None for counters and for what the user wants kept or reset."""
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if value is None:
        return None
    if key in kinds:
        kind = KINDS.get(kinds[key])
        if kind is not None and shape != tuple(p.shape):
            raise ValueError(
                f"Teleport: what moves with a parameter has its shape, {tuple(p.shape)}; got {key!r} of "
                f"{type(optimizer).__name__} ({shape}) at {name}; choose keep or reset for it."
            )
        return kind
    if isinstance(optimizer, torch.optim.LBFGS) and key in HISTORY:
        return None
    if key in COUNTERS or isinstance(value, bool | int | float | str):
        return None
    for cls, known in KNOWN_OF.items():
        if isinstance(optimizer, cls) and key in known:
            return known[key]
    if key in KNOWN and isinstance(value, Tensor) and value.shape == p.shape:
        return KNOWN[key]
    if isinstance(value, Tensor) and value.numel() == 1 and value.shape != p.shape:
        return None
    raise ValueError(
        f"Teleport: every entry of the optimizer's state must be known, for it has to move with the parameters; "
        f"got {key!r} of {type(optimizer).__name__} ({shape}) at {name}; "
        f"say what it is, kinds={{{key!r}: ...}}, one of {', '.join(KINDS)}, keep, reset."
    )


def _start(key: str, group: Mapping) -> float:
    if key == "sum":
        return group.get("initial_accumulator_value", 0.0)
    return float(group["lr"]) if key in ("step_size", "eta") else START.get(key, 0.0)
