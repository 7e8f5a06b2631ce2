"""A trained meta-optimizer as an optimizer of any model."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._model import WHERE, Closure, Loss, ModelStepper
from isoloss.learn._step import Point
from isoloss.learn.actions import Action, Exact
from isoloss.learn.tasks import as_actions
from isoloss.symmetry import Symmetry
from isoloss.symmetry._atomic import write_atomically

_MEMORY = "memory"


class LearnedOptimizer(Optimizer):
    r"""Trains a model by what a meta-optimizer has learned, on this model or on others.

    .. math:: w_{t+1} = g_t \cdot (w_t + \eta\, v_t) \quad \text{or} \quad w_{t+1} = g_t \cdot w_t + \eta\, v_t

    where g and v are those of `MetaOptimizer`, and the factor :math:`\eta`, 1 by default, is the "lr" of the parameter
    groups: schedulers scale the learned step, of which they know no more than that. Teleports are not scaled.

    A closure is called once, as elsewhere in torch, and never needed but for one thing: teleports by data-dependent
    actions, at the steps where the design has one. There loss and gradient are evaluated where the teleport leads, by
    `loss`, or by up to six more calls of the closure, which is to return the loss of the same minibatch each time; with
    dropout it does not, and teleports are refused. For exact symmetries the gradient is transported, and the loss is
    compared only if `loss` is given.

    Parameters without gradient are not moved by the local step and count as zeros; teleports move them. If none has a
    gradient the step does nothing. Weights below float32 are computed with in float32, and rounded once.

    Memory: some 85 numbers for each weight, with networks of the kind "coordinate" and 20 units.

    Example:
        >>> import torch, isoloss
        >>> from isoloss.learn import Design, LearnedOptimizer, MetaOptimizer
        >>> x = torch.randn(32, 4)
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> meta = MetaOptimizer(Design(rate=0.01))  # or load(folder)
        >>> optimizer = LearnedOptimizer(model, meta, symmetries=isoloss.find(model, x))
        >>> losses = []
        >>> for _ in range(20):
        ...     optimizer.zero_grad()
        ...     loss = (model(x) - x[:, :1]).square().mean()
        ...     loss.backward()
        ...     _ = optimizer.step()
        ...     losses.append(loss.item())
        >>> losses[-1] < losses[0]
        True

    Args:
        parameters: A model, of which everything that requires a gradient is trained; or named parameters, as
            `named_parameters()` gives them, or groups of them.
        meta: What has been trained. A copy is kept; later training does not change it.
        actions: What may teleport the model. Names are those of the parameters.
        symmetries: Further ones, exact: what `isoloss.find` reports, say. Discrete ones, those up to the eps of a
            norm, and those that do not change gradients are left out; so are, with a warning, those that move or read
            what is not trained.
        loss: Of the trained weights and the data, by name, a scalar; it runs under `torch.func`. Directions that look
            at the loss elsewhere need it (gradient-norm, lookahead).
        lr: Factor of the local steps.

    Raises:
        ValueError: If lr is negative, parameters have no names or are no real numbers, an action moves others, or the
            networks are of the kind "whole" and made for other shapes or groups.

    References:
        Dissertation, Section 5.5 and Algorithm 3, with the meta-optimizer fixed.
    """

    def __init__(
        self,
        parameters: nn.Module | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]],
        meta: MetaOptimizer,
        actions: Sequence[Action] = (),
        *,
        symmetries: Iterable[Symmetry] = (),
        loss: Loss | None = None,
        lr: float = 1.0,
    ):
        if not isinstance(meta, MetaOptimizer):
            raise TypeError(
                f"LearnedOptimizer: meta must be a MetaOptimizer; got {type(meta).__name__}; "
                "pass what load(folder) returns, or the meta of Trained."
            )
        if not lr >= 0:
            raise ValueError(
                f"LearnedOptimizer: lr must not be negative; got {lr}; 1 takes the step as learned."
            )
        self.meta = deepcopy(meta).requires_grad_(False)
        self.loss = loss
        self.actions: tuple[Action, ...] = ()
        super().__init__(cast(Any, _trained(parameters)), {"lr": lr})
        named = self._named()
        self._check_actions(actions, named)
        exact = as_actions(s for s in symmetries if _within(s, named))
        self.actions = (*actions, *exact) if "tele" in meta.design.variant else ()
        self._check_fit()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train further parameters, named ones.

        Raises:
            ValueError: If steps have been taken: what is remembered is that of all parameters together.
        """
        if self.state:
            raise ValueError(
                "LearnedOptimizer.add_param_group: parameters must be there before the first step; got more after it; "
                "make a new optimizer of all of them."
            )
        group = _readable(param_group)
        names = [name for name, _ in group["params"]]
        known = [n for g in self.param_groups for n in g["param_names"]]
        twice = next((n for n in names if (known + names).count(n) > 1), None)
        if twice is not None:
            raise ValueError(
                f"LearnedOptimizer: names must differ, for actions know parameters by them; got two {twice}; "
                "put the modules into one, and pass that."
            )
        super().add_param_group(group)
        if hasattr(self, "_fits"):
            self._check_fit()

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Closure | None = None, *, data: Mapping[str, Tensor] | None = None
    ) -> Any:
        """Take one step.

        Args:
            closure: Clears the gradients, computes the loss, calls backward, returns the loss. If None, the gradients
                that are there are those of the step.
            data: The minibatch by name, as actions and loss read it; its tensors have no axis over tasks.

        Returns:
            What the closure returned first. Where it was called again, gradients are those of its last call.

        Raises:
            ValueError: If gradients or the step are not finite, or a teleport lacks its data or the loss. Weights and
                memory are then what they were.
        """
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        named = self._named()
        if all(p.grad is None for p in named.values()):
            return value
        stepper = self._stepper(named, closure)
        weights, gradient = stepper.flat(named), stepper.gradient()
        point = self._point(stepper, weights)
        seen = self._checked(point, data, named)
        try:
            end = stepper.step(point, gradient, seen).end
            if not end.weights.isfinite().all():
                raise ValueError(
                    f"{WHERE}: steps must be finite; got inf or nan; nothing was changed; lower lr or the radius."
                )
            new = stepper.layout.unflatten(end.weights)
        finally:
            if stepper.elsewhere:
                stepper.write(weights)
        write_atomically(((n, p, new[n][0]) for n, p in named.items()), where=WHERE)
        self.state[_MEMORY] = {"step": end.step, **end.state}  # type: ignore[index]
        return value

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where another optimizer of the same model was.

        Raises:
            ValueError: If what it remembers is not of this model, these actions and this design.
        """
        told = state_dict["state"].get(_MEMORY)
        if told is not None:
            named = self._named()
            stepper = self._stepper(named, None)
            fresh = self.meta.start(stepper.layout, stepper.flat(named), len(self.actions))
            shapes = {n: tuple(t.shape) for n, t in told.items() if isinstance(t, Tensor)}
            if shapes != {n: tuple(t.shape) for n, t in fresh.items()} or "step" not in told:
                raise ValueError(
                    "LearnedOptimizer.load_state_dict: the memory must be of this model, these actions and this "
                    "design; got another one; make the optimizer as that was made which saved it."
                )
            told = {n: told[n].to(t, copy=True) for n, t in fresh.items()} | {"step": told["step"]}
        names = [group["param_names"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, names, strict=True):
            group["param_names"] = own  # torch takes those of the file
        if told is not None:
            self.state[_MEMORY] = told  # type: ignore[index]

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in ("meta", "loss", "actions", "_fits")}
        return super().__getstate__() | kept

    def _named(self) -> dict[str, Tensor]:
        return {
            name: p
            for group in self.param_groups
            for name, p in zip(group["param_names"], group["params"], strict=True)
        }

    def _stepper(self, named: dict[str, Tensor], closure: Closure | None) -> ModelStepper:
        device = next(iter(named.values())).device
        if next(self.meta.parameters()).device != device:
            self.meta.to(device)
        rates = [float(group["lr"]) for group in self.param_groups for _ in group["params"]]
        scale = [0.0 if p.grad is None else rate for rate, p in zip(rates, named.values(), strict=True)]
        return ModelStepper(self.meta, named, self.actions, self.loss, closure, scale)

    def _point(self, stepper: ModelStepper, weights: Tensor) -> Point:
        memory = dict(self.state.get(_MEMORY, {}))  # type: ignore[call-overload]
        if not memory:
            return Point(weights, self.meta.start(stepper.layout, weights, len(self.actions)))
        step = memory.pop("step")
        return Point(weights, {n: t.to(weights.device) for n, t in memory.items()}, step)

    def _checked(
        self, point: Point, data: Mapping[str, Tensor] | None, named: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The data with an axis over tasks."""
        if self.actions and self.meta.design.jumps(point.step):
            frozen = [n for a in self.actions for n in a.parameters if not named[n].requires_grad]
            if frozen:
                raise ValueError(
                    f"{WHERE}: what a teleport moves must require gradients; got {frozen[0]}, frozen since; "
                    "make a new optimizer of what is still trained."
                )
            reading = next((a for a in self.actions if data is None and _reads_data(a)), None)
            if reading is not None:
                raise ValueError(
                    f"{WHERE}: {reading.name} reads the minibatch; got no data; call step(closure, data=...)."
                )
        return {name: t.unsqueeze(0) for name, t in (data or {}).items()}

    def _check_actions(self, actions: Sequence[Action], named: Mapping[str, Tensor]) -> None:
        for action in actions:
            if not isinstance(action, Action):
                raise TypeError(
                    f"LearnedOptimizer: actions must be such as Exact or Dependent; got {type(action).__name__}; "
                    "pass what isoloss.find returns as symmetries=."
                )
            absent = [n for n in action.parameters if n not in named]
            if absent:
                raise ValueError(
                    f"LearnedOptimizer: actions must move what is trained; got {action.name} on {', '.join(absent)}, "
                    f"not among {', '.join(list(named)[:4])}{', ...' if len(named) > 4 else ''}; "
                    "use the names of named_parameters()."
                )

    def _check_fit(self) -> None:
        named = self._named()
        for name, p in named.items():
            if not p.is_floating_point():
                raise ValueError(
                    f"LearnedOptimizer: parameters must be real floating-point numbers; got {p.dtype} for {name}; "
                    "leave it out."
                )
        self.meta.check_fit(self._stepper(named, None).layout, self.actions)
        self._fits = True


def _trained(parameters: Any) -> list[Any]:
    if isinstance(parameters, nn.Module):
        return [(name, p) for name, p in parameters.named_parameters() if p.requires_grad]
    return list(parameters)


def _readable(group: dict[str, Any]) -> dict[str, Any]:
    """The group, if its parameters are named; names without what torch.compile puts into them."""
    given: Any = group.get("params") if isinstance(group, dict) else None
    pairs = list(given) if isinstance(given, Iterable) and not isinstance(given, Tensor) else [given]
    named = all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs)
    if not pairs or not named:
        raise ValueError(
            "LearnedOptimizer: parameters must have names, by which actions know them; "
            f"got {type(pairs[0]).__name__ if pairs else 'none'}; pass the model, or model.named_parameters()."
        )
    return group | {"params": [(str(name).replace("_orig_mod.", ""), p) for name, p in pairs]}


def _within(symmetry: Symmetry, named: Mapping[str, Tensor]) -> bool:
    outside = [n for n in (*symmetry.parameters, *symmetry.reads) if n not in named]
    if outside and symmetry.dim:
        warnings.warn(
            f"LearnedOptimizer: symmetries must stay within what is trained; got {symmetry.name}, which involves "
            f"{outside[0]}; it is left out.",
            stacklevel=3,
        )
    return not outside


def _reads_data(action: Action) -> bool:
    return not isinstance(action, Exact) or action.sees_units
