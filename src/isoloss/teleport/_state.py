"""How the optimizer's state follows a jump: momentum like a gradient, second moments like squared gradients."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from isoloss.groups import Permutation, PositiveScaling, SignFlip
from isoloss.symmetry import Slot, Symmetry
from isoloss.teleport._matrices import Matrices, are_matrices

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
# RMSprop's momentum sums gradients that were divided by their root mean square.
KNOWN_OF: dict[type[Optimizer], dict[str, Kind]] = {torch.optim.RMSprop: {"momentum_buffer": UPDATE}}

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
    for name, p in parameters.items() if optimizer.state else ():
        for key, value in optimizer.state.get(p, {}).items():
            kind = _kind(optimizer, key, value, p, kinds, name)
            if kind is None or (kind.policy is not None and policies[kind.policy] != "transport"):
                continue
            found.setdefault(key, States(key, kind, {})).tensors[name] = value
    return list(found.values())


def resets(
    optimizer: Optimizer, policies: Mapping[str, Policy], kinds: Mapping[str, str]
) -> list[tuple[str, Tensor, Tensor]]:
    """What to write where a policy says reset: for every parameter of the optimizer, whether it moves or not.

    If both policies say so, the counters start again as well, and with them Adam's bias correction.

    Returns:
        Triples (name, tensor, its value at the start).
    """
    if "reset" not in (*policies.values(), *kinds.values()):
        return []
    fresh = all(policy == "reset" for policy in policies.values())
    pairs = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            for key, value in optimizer.state.get(p, {}).items():
                kind = _kind(optimizer, key, value, p, kinds, "a parameter")
                chosen = kinds.get(key) == "reset" or (
                    kind is not None and policies.get(kind.policy or "") == "reset"
                )
                if isinstance(value, Tensor) and (chosen or (fresh and key in COUNTERS)):
                    pairs.append((key, value, torch.full_like(value, _start(key, group))))
    return pairs


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
                x.update(
                    replace(symmetry, slots=_charged(symmetry, kind.power)).act(g, x) if kind.power else {}
                )
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


def _charged(symmetry: Symmetry, power: int) -> tuple[Slot, ...]:
    return tuple(replace(s, charge=power * Fraction(s.charge)) for s in symmetry.slots if isinstance(s, Slot))


def _kind(
    optimizer: Optimizer, key: str, value, p: Tensor, kinds: Mapping[str, str], name: str
) -> Kind | None:
    """The kind of an entry, None for counters and for what the user wants kept or reset."""
    if key in kinds:
        return KINDS.get(kinds[key])
    if key in COUNTERS or value is None or isinstance(value, bool | int | float | str):
        return None
    for cls, known in KNOWN_OF.items():
        if isinstance(optimizer, cls) and key in known:
            return known[key]
    if key in KNOWN and isinstance(value, Tensor) and value.shape == p.shape:
        return KNOWN[key]
    if isinstance(value, Tensor) and value.numel() == 1 and value.shape != p.shape:
        return None
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    raise ValueError(
        f"Teleport: every entry of the optimizer's state must be known, for it has to move with the parameters; "
        f"got {key!r} of {type(optimizer).__name__} ({shape}) at {name}; "
        f"say what it is, kinds={{{key!r}: ...}}, one of {', '.join(KINDS)}, keep, reset."
    )


def _start(key: str, group: Mapping) -> float:
    if key == "sum":
        return group.get("initial_accumulator_value", 0.0)
    return float(group["lr"]) if key in ("step_size", "eta") else START.get(key, 0.0)
