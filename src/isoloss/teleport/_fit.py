"""Do an objective, a solver and the symmetries fit one another? Asked before training starts."""

from typing import Any

from isoloss.dependent import pair_of
from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._point import without_loss
from isoloss.teleport.objectives import Objective
from isoloss.teleport.solvers import SOLVERS, DiscreteSearch, Solver


def check_fit(
    solver: Solver,
    objective: Objective,
    symmetries: Symmetries,
    radius: float,
    loss: Any,
    minibatches: Any,
    approximate: bool,
) -> None:
    """Refuse what could only fail, or do nothing, at the first jump.

    Args:
        solver: How the destination is found.
        objective: What is sought.
        symmetries: Along what.
        radius: How far.
        loss: What `Teleport` was given, or None.
        minibatches: The same: enough for those who only evaluate, but not for gradients at displaced parameters.
        approximate: May symmetries be used that hold up to eps?

    Raises:
        TypeError: If the solver cannot use such an objective.
        ValueError: If it lacks a bound or a loss, or there is nothing to move along.
    """
    evaluates = loss is not None or (minibatches is not None and not getattr(solver, "displaces", False))
    check = getattr(solver, "check", None)
    if check is not None:
        check(objective, symmetries, radius, evaluates)
    if not getattr(solver, "along_symmetries", True):
        return
    fitting = [s for s in symmetries if solver.uses(s)]
    used = [s for s in fitting if s.exact or approximate]
    flows = [s.name for s in used if s.whole]
    if flows and getattr(objective, "needs_loss", False) and not evaluates:
        raise without_loss(f"{type(solver).__name__}, for the {objective.name} along {flows[0]}")
    if used:
        return
    kinds = list(dict.fromkeys(s.name for s in symmetries))
    got = ", ".join(kinds[:4]) + (f" and {len(kinds) - 4} more" if len(kinds) > 4 else "")
    if fitting:
        got, fix = f"{fitting[0].name}, {_only(fitting[0])}", "pass approximate=True"
    else:
        fix = (
            _instead(symmetries, objective, approximate)
            or "choose LevelSetAscent() or NullSpaceProjection(), which need no symmetry"
        )
    raise ValueError(
        f"Teleport: the solver {type(solver).__name__} must have a symmetry to move along, or nothing moves; "
        f"got {got or 'no symmetries'}; {fix}."
    )


def _instead(symmetries: Symmetries, objective: Objective, approximate: bool) -> str | None:
    """A solver that can use one of these symmetries and may gain by it, if there is one."""
    for kind in SOLVERS.values():
        if kind is DiscreteSearch and hasattr(objective, "form"):
            continue  # permutations and signs change no sum of squares
        for symmetry in symmetries:
            if (symmetry.exact or (approximate and symmetry.whole)) and _uses(kind, symmetry):
                return f"choose {kind.__name__}(), which can move along {symmetry.name}"
    modules = dict(symmetries.model.named_modules())
    for symmetry in symmetries:
        if pair := pair_of(symmetry, modules):
            layers = f"{pair.producer.name} and {pair.reader.name}"
            return f"choose DependentAscent(), which moves {layers} for one batch, with loss=closure"
    return None


def _only(symmetry: Symmetry) -> str:
    return "approximately only" if symmetry.whole else "up to a norm's eps only"


def _uses(kind: type[Solver], symmetry: Symmetry) -> bool:
    try:
        return kind().uses(symmetry)
    except TypeError:  # it needs arguments
        return False
