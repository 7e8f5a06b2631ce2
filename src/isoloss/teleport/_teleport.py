"""The companion of an optimizer: between backward and step, a jump along the level set of the loss."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from math import isfinite, sqrt
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from isoloss._checks import is_size
from isoloss.symmetry import Symmetries, Symmetry, named_tensors
from isoloss.teleport._arguments import check_closure, check_parts, check_state, checked_radius, chosen
from isoloss.teleport._displace import displacement
from isoloss.teleport._fit import check_fit
from isoloss.teleport._jump import Jump, joined
from isoloss.teleport._loss import Loss, LossClosure
from isoloss.teleport._measure import Closure
from isoloss.teleport._measure import measure as measured
from isoloss.teleport._minibatches import listed, on_minibatch
from isoloss.teleport._move import Move
from isoloss.teleport._plan import Plan, signature
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic
from isoloss.teleport._ranks import agreed, averaged_, several
from isoloss.teleport._schedule import Schedule, every
from isoloss.teleport._state import GRADIENT, KINDS, POLICIES, Policy, States, resets, restart, states
from isoloss.teleport._together import together
from isoloss.teleport.objectives import OBJECTIVES, GradientNorm, Objective
from isoloss.teleport.solvers import SOLVERS, LieAscent, Solution, Solver, TransportedAscent

FOUR_JUMPS = every(100, until=400)


class Teleport:
    r"""Moves the parameters of an optimizer along their symmetries, before some of its steps.

    .. math:: w \leftarrow g \cdot w, \quad \nabla L \leftarrow J^{-T} \nabla L, \qquad
        g = \operatorname{argmax}_{\log g \in B_r} f(g \cdot w)

    The loss stays what it is, up to rounding; parameters, gradients, momentum and second moments move together, in
    place, all or none. Exact symmetries need no further forward or backward pass (dissertation Prop. 4.5.1)::

        loss.backward()
        teleport.step()
        optimizer.step()

    It goes with gradient accumulation, clipping (after it), schedulers, autocast, GradScaler (before or after
    `unscale_`), compiled models and data-parallel training, where every rank finds the same g from the same
    gradients. A penalty on the weights, weight decay included, is no part of the loss that stays.

    Args:
        optimizer: Any torch optimizer.
        symmetries: Those of the model; what the optimizer does not train stays where it is, and symmetries that
            would move it are left out with a warning.
        objective: What to raise or lower: an object, or its name in `OBJECTIVES`.
        schedule: Asked with the number of the step; says whether to jump. By default four times, 100 steps apart.
        radius: Bound on the spectral norm of the algebra element, log g, of every group: no singular value leaves
            [exp(-r), exp(r)]. This needs no unit and means the same at every width: no weight vector grows or
            shrinks by more than that factor on either side, and rounding errors grow by at most cond(g) = exp(2r).
            The gradient norm has no maximum on the orbit; with 0.1, its default, training stayed finite at every
            learning rate at which plain SGD trains, with 0.3 it did not. It bounds one jump, not all together. Of a
            discovered symmetry it bounds the largest coefficient, in units of its fields.
        solver: How the element is found: an object, or its name in `SOLVERS`. If None, `TransportedAscent` for what
            transported gradients tell, and `LieAscent` for objectives that have to be evaluated and for symmetries
            that act as a whole, by a flow, as discovered ones do.
        momentum: "transport" moves it like a gradient, "keep" leaves it, "reset" sets it to zero (section 5.4.1 of
            the dissertation compares the three).
        second_moments: The same for averages and sums of squared gradients. They follow scalings, signs and
            permutations exactly, and matrices in expectation, for gradients without correlations; under what is
            neither (a rotation folded through a norm's weight, the flow of a discovered symmetry) they are kept. Reset
            together with momentum, the step counters of the optimizer start again. LBFGS, whose history belongs to the
            point where it was made, begins anew after every jump, whatever the policies.
        kinds: For entries of the optimizer's state that are not known, what they are: "gradient", "square",
            "update", "magnitude", "step", "parameter", "keep" or "reset".
        measure: Returns the loss on the current batch, without backward; asked before and after every jump.
        loss: Returns the loss of the current minibatch as backward() was called on it, as a tensor with a graph and
            without backward; see `Loss`. Objectives and solvers that evaluate the loss at other parameters need it,
            as do `max_loss_change` and the gradients after a move that no symmetry describes. The processes of an
            initialized `torch.distributed` are then taken to train one model together: the first one's move is made
            by all.
        max_loss_change: Largest relative change of that loss, abs(after - before) / abs(before), on its minibatch,
            averaged over ranks. After every jump it is measured; beyond the bound everything is rolled back, bit
            for bit, and the report's `skipped` says so. Exact symmetries change it by rounding only. With
            `minibatches` it bounds each of the jumps that a step is made of, not their sum.
        minibatches: For jumps found on other minibatches than the current one: called at every jump, returns a
            closure per minibatch, each like `loss`. The jump is then made of one for each, one after another; the
            gradients and state that wait to be used move along. `averaged(closures)` makes one of several.
        approximate: Use symmetries that hold only up to a norm's eps, too, and discovered ones, which hold as far as
            their `error` says on the data that they were made for: give `loss` and `max_loss_change` with them.
        generator: For solvers that draw random numbers; its state is saved with ours.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        symmetries: Symmetries,
        objective: Objective | str | None = None,
        schedule: Schedule = FOUR_JUMPS,
        radius: float | None = None,
        solver: Solver | str | None = None,
        *,
        momentum: Policy = "transport",
        second_moments: Policy = "transport",
        kinds: Mapping[str, str] | None = None,
        measure: Closure | None = None,
        loss: LossClosure | None = None,
        max_loss_change: float | None = None,
        minibatches: Callable[[], Iterable[LossClosure]] | None = None,
        approximate: bool = False,
        generator: torch.Generator | None = None,
    ):
        check_parts(optimizer, symmetries, schedule, generator)
        self.optimizer = optimizer
        self.symmetries = symmetries
        self.objective = chosen("objective", objective, OBJECTIVES, GradientNorm)
        self.schedule = schedule
        self.radius = checked_radius(radius, self.objective)
        self.solver = chosen("solver", solver, SOLVERS, self._default_solver(approximate))
        if (bound := getattr(self.solver, "bound", None)) is not None:
            self.solver = bound(symmetries)
        self.policies: dict[str, Policy] = {"momentum": momentum, "second_moments": second_moments}
        if not isinstance(kinds, Mapping | None):
            raise ValueError(
                f"Teleport: kinds must say what entries of the optimizer's state are, by name; got {kinds!r}; "
                'write kinds={"entry": "gradient"}.'
            )
        self.kinds = dict(kinds or {})
        self.measure = measure
        self.loss = loss
        self.max_loss_change = max_loss_change
        self.minibatches = minibatches
        self.approximate = approximate
        self.generator = generator
        self.steps = self.jumps = 0
        self._check()
        check_fit(self.solver, self.objective, symmetries, self.radius, loss, minibatches, approximate)
        self._named = named_tensors(symmetries.model)
        self._warned: set[str] = set()
        self._trusted = False  # has the loss been seen to depend on the parameters?
        self._made = self._plan_anew()

    @property
    def used(self) -> tuple[Symmetry, ...]:
        """The symmetries along which it moves."""
        return self._plan().symmetries

    @torch.no_grad()
    def step(self) -> Jump | None:
        """Jump if the schedule says so; to be called between backward() and the optimizer's step, at every step.

        Returns:
            The report, or None at steps that the schedule passes over.

        Raises:
            ValueError: If there are no gradients, or the move would not be finite, or the optimizer's state holds
                what we do not know; nothing has changed then.
        """
        jump = self._jump() if self.schedule(self.steps) else None
        self.steps += 1
        self.jumps += jump is not None and jump.skipped is None
        return jump

    def attach(self) -> RemovableHandle:
        """Let every optimizer.step() call `step` first; remove() undoes it.

        If it is given a closure, `step` comes after the first call of that: later ones, those of a line search
        among them, compare losses along a direction that starts where the first was.
        """

        def before(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
            if closure is None:
                self.step()
                return None

            waiting = [self.step]

            def backward_then_jump():
                loss = closure()
                if waiting:
                    waiting.pop()()
                return loss

            return (optimizer, backward_then_jump, *args[2:]), {
                k: v for k, v in kwargs.items() if k != "closure"
            }

        return self.optimizer.register_step_pre_hook(before)

    def state_dict(self) -> dict[str, Any]:
        """Counters and the generator's state, plain numbers and a tensor; all that a resumed run needs."""
        drawn = None if self.generator is None else self.generator.get_state()
        return {"steps": self.steps, "jumps": self.jumps, "generator": drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another teleport was.

        Raises:
            ValueError: If the state is not one of ours, or has a generator where we have none, or the reverse.
        """
        check_state(state, self.generator)
        self.steps, self.jumps = int(state["steps"]), int(state["jumps"])
        if self.generator is not None:
            self.generator.set_state(state["generator"].cpu())

    def __repr__(self) -> str:
        plan = self._plan()
        return (
            f"Teleport({type(self.optimizer).__name__}, {len(plan.symmetries)} of {len(self.symmetries)} symmetries, "
            f"{self.objective}, {self.schedule}, radius {self.radius:g})"
        )

    def _jump(self) -> Jump:
        if self.minibatches is None:
            return self._jump_on(None)
        closures = listed(self.minibatches())
        return joined([self._jump_on(minibatch) for minibatch in closures])

    def _jump_on(self, minibatch: LossClosure | None) -> Jump:
        """Jump to what is best on one minibatch; None for the one whose gradients wait."""
        where = "Teleport.step"
        plan = self._plan()
        if several() and (flows := [s.name for s in plan.symmetries if s.whole]):
            raise ValueError(
                f"{where}: processes that train one model must move it alike, which a flow on data of their own does "
                f"not; got {flows[0]}; leave it out with symmetries.where(lambda s: not s.whole), or train on one."
            )
        trained = () if self._trusted else tuple(plan.groups)
        loss = None if self.loss is None else Loss(self.loss, self.symmetries.model, trained)
        point = seen = plan.point(self.optimizer, where, loss)
        if minibatch is not None:
            seen = on_minibatch(point, Loss(minibatch, self.symmetries.model, trained), where)
        if self.objective.needs_gradients and not seen.gradients:
            got = "none" if plan.groups else "no parameter that requires them"
            fix = (
                "call it between backward() and optimizer.step()"
                if plan.groups
                else "thaw what is to be trained"
            )
            raise ValueError(
                f"{where}: the objective {self.objective.name} needs gradients; got {got}; {fix}."
            )
        moments = states(self.optimizer, {n: plan.tensors[n] for n in plan.groups}, self.policies, self.kinds)
        resetting = resets(self.optimizer, self.policies, self.kinds)
        solution = self.solver.solve(
            self.objective, plan.symmetries, plan.scalings, seen, self.radius, self.generator
        )
        solution = solution if seen.loss is None else agreed(solution)
        norms = self._gradient_norms(point, solution, known=seen is point)
        known = (solution.before, solution.after, solution.size, norms[0])
        before, after, size, first = torch.stack([x.to(known[0]) for x in known]).tolist()
        report: dict[str, Any] = {"step": self.steps, "objective": self.objective.name, "before": before}
        if not isfinite(before) or not isfinite(first):
            return Jump(**report, skipped="the gradients or parameters are not finite")
        if solution.skipped is not None:
            return Jump(**report, after=before, skipped=solution.skipped)
        if solution.displaced is not None:
            move = displacement(point, solution.displaced, solution.gradients, where)
        else:
            move = together(
                plan.symmetries,
                solution.elements,
                plan.scalings,
                point.tensors,
                # No entry of a gradient exceeds the norm of all.
                [States("gradient", GRADIENT, dict(point.gradients), bound=sqrt(first)), *moments],
                where,
            )
        for name, target, new in resetting:
            move.replace(name, target, new)
        report |= self._measured("before", point)
        change, refused = self._committed(move, loss)
        self._trusted = self._trusted or any(isinstance(x, Loss) and x.checked for x in (loss, seen.loss))
        report = change | report
        if refused:
            return Jump(**report, after=after, size=size, skipped=refused)
        if not move.empty:
            restart(self.optimizer, self.policies, self.kinds)
        report |= self._measured("after", point)
        if point.gradients:
            last = norms[1] if norms[1] is not None else _norm(point.gradients)
            report |= {"gradient_norm_before": sqrt(first), "gradient_norm_after": sqrt(float(last))}
        return Jump(**report, after=after, size=size)

    def _committed(self, move: Move, loss: Loss | None) -> tuple[dict[str, float], str | None]:
        """Write, unless that changes the loss by too much: the losses, and why all is as it was."""
        if self.max_loss_change is None or loss is None:
            move.commit()
            return {}, None
        before = _mean(loss)
        move.commit(reversible=True)
        kept = False
        try:
            after = _mean(loss)
            kept = abs(after - before) <= self.max_loss_change * abs(before)
        finally:
            if not kept:
                move.undo()
        refused = f"the loss went from {before:.6g} to {after:.6g}, by more than {self.max_loss_change:g} of it; undone"
        return {"loss_before": before, "loss_after": after}, None if kept else refused

    def _gradient_norms(self, point: Point, solution: Solution, known: bool) -> tuple[Tensor, Tensor | None]:
        """Squared gradient norm here, and after the jump if the solver has predicted just that."""
        if solution.transported and known:
            return solution.before, solution.after
        return _norm(point.gradients), None

    def _measured(self, when: str, point: Point) -> dict[str, float]:
        if self.measure is None:
            return {}
        parameters = [self._named[n] for n in point.gradients]
        loss, norm = measured(self.measure, parameters, self.symmetries.model)
        known = {f"loss_{when}": loss, f"measured_gradient_norm_{when}": norm}
        return {name: value for name, value in known.items() if value is not None}

    def _plan(self) -> Plan:
        if signature(self.optimizer) != self._made.signature:
            self._made = self._plan_anew()
        return self._made

    def _plan_anew(self) -> Plan:
        plan = Plan.of(
            self.optimizer,
            self.symmetries,
            self._named,
            lambda s: (s.exact or self.approximate) and self.solver.uses(s),
        )
        if passed := self._passed_over():
            warnings.warn(passed, stacklevel=3)
        if new := [reason for reason in plan.left_out if reason not in self._warned]:
            shown = "; ".join(new[:6]) + (f"; and {len(new) - 6} more" if len(new) > 6 else "")
            warnings.warn(
                f"Teleport: leaves out symmetries that move what is not trained: {shown}.", stacklevel=3
            )
            self._warned.update(new)
        return plan

    def _default_solver(self, approximate: bool) -> type[Solver]:
        if any(s.whole and (s.exact or approximate) for s in self.symmetries):
            return LieAscent
        transported = hasattr(self.objective, "form") or hasattr(self.objective, "scaling_form")
        return TransportedAscent if transported else LieAscent

    def _passed_over(self) -> str | None:
        """What to say of symmetries that act as a whole, if the solver cannot move along them; once."""
        flows = [s for s in self.symmetries if s.whole and (s.exact or self.approximate)]
        lost = [s.name for s in flows if not self.solver.uses(s)]
        if not lost or not getattr(self.solver, "along_symmetries", True) or "flows" in self._warned:
            return None
        self._warned.add("flows")
        return (
            f"Teleport: {type(self.solver).__name__} cannot move along what acts by a flow; it leaves out "
            f"{', '.join(lost)}; choose LieAscent()."
        )

    def _check(self) -> None:
        for argument, policy in self.policies.items():
            if policy not in POLICIES:
                raise ValueError(
                    f"Teleport: {argument} must be one of {', '.join(POLICIES)}; got {policy!r}; "
                    "transport is the default."
                )
        for key, kind in self.kinds.items():
            if kind not in (*KINDS, "keep", "reset"):
                raise ValueError(
                    f"Teleport: kinds must name what {key!r} is; got {kind!r}; "
                    f"choose one of {', '.join(KINDS)}, keep, reset."
                )
        check_closure("minibatches", self.minibatches, "lambda: [closure, ...], asked anew at every jump")
        check_closure("loss", self.loss, "lambda: criterion(model(x), y), which computes the loss anew")
        check_closure("measure", self.measure, "lambda: criterion(model(x), y)")
        if not isinstance(self.approximate, bool):
            raise ValueError(
                f"Teleport: approximate must be True or False; got {self.approximate!r}; False is the default."
            )
        bound = self.max_loss_change
        if bound is not None and (self.loss is None or not is_size(bound)):
            raise ValueError(
                "Teleport: max_loss_change must not be negative, and needs the loss; "
                f"got {bound!r}, {'no loss' if self.loss is None else 'a loss'}; "
                "give loss=closure, where closure() returns the loss of the current minibatch."
            )


def _mean(loss: Loss) -> float:
    """The loss at the model's own parameters, the same number on all ranks."""
    value = loss({}).detach().double()
    averaged_([value])
    return value.item()


def _norm(gradients: Mapping[str, Tensor]) -> Tensor:
    home = next((g.device for g in gradients.values()), torch.device("cpu"))
    wide = any(g.dtype == torch.float64 for g in gradients.values())
    return Quadratic(gradients, -1, {}).value(list(gradients), torch.float64 if wide else torch.float32, home)
