"""Is what a subnetwork is symmetric under a symmetry of the whole? Tried on a float64 copy of the whole."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from isoloss.discovery.extension._place import submodule
from isoloss.discovery.extension._watch import Call, watched
from isoloss.finding._find import _arguments, _check, _copied, _double, _movable
from isoloss.finding._verify import BROKEN, FEW, NEARLY, SCALES, TOLERANCE, Verifier, relative_change
from isoloss.finding._world import settings
from isoloss.symmetry import Symmetry, named_tensors

# The stated error of an approximate symmetry is that of some elements and batches; others may be so many times worse.
SLACK = 10.0
# Random elements of an approximate symmetry that are tried.
ELEMENTS = 3
# A forward pass rounds about so many times where a weight is rounded once.
ROUNDINGS = 100.0
# Of models of more parameters only one other point is tried.
MANY = 10_000_000


class Trial:
    """A float64 copy of the whole model, on which extensions are tried.

    Args:
        model: The model; it is not touched.
        inputs: Its inputs, as for `find`.
        at: What is extended, for messages.
        loss: Scalar function of the outputs that is to stay, instead of the outputs.
        seed: Of the elements and of the points that are tried.
        wander: Whether it may move to other points and inputs, as `find` does for what holds everywhere.
        moved: Buffers that move, beside the parameters and the running statistics of norms.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        at: str,
        loss: Callable[[Any], Tensor] | None,
        seed: int,
        wander: bool,
        moved: Iterable[str] = (),
    ):
        args, kwargs = _arguments(inputs)
        _check(model)
        with settings():
            self._twin = _copied(model)
            args, kwargs = tree_map(_double, (args, kwargs))
        if loss is not None:
            self._twin.register_forward_hook(lambda module, inputs, outputs: loss(outputs))
        buffers = dict(self._twin.named_buffers())
        tensors = _movable(self._twin, model, "move", "move")
        tensors |= {name: buffers[name] for name in moved if name in buffers}
        self.at, self._kept = at, "outputs" if loss is None else "loss"
        self._verifier = Verifier(self._twin, args, kwargs, tensors, named_tensors(model), seed, wander)

    def check_used_through(self, path: str, names: Iterable[str]) -> int:
        r"""Refuse if the model reads these parameters other than through the submodule; how often it calls that.

        The outputs of the submodule are held at what they are while the parameters move: neither its inputs,
        :math:`h(\theta_1, X)`, nor the outputs of the model, :math:`j(\theta_1, \cdot, X)`, may change.

        Raises:
            ValueError: If they do, or the submodule is never called.
        """
        names, calls = tuple(names), self._calls(path)
        if not calls:
            raise ValueError(
                f"extend: the model must call the submodule, f; got a pass that never calls {path or 'it'}; "
                "choose a module that runs, or name the parameters in a mapping."
            )
        if self._leak(path, names, calls) > TOLERANCE:
            some = [name for name in names if self._leak(path, [name], calls) > TOLERANCE] or names
            raise ValueError(
                f"extend: the model must use the parameters only through {path}; got {_listed(some)}, read elsewhere "
                f"as well: with the output of {path} held, moving them changes the {self._kept} "
                "(dissertation, Figure 6.2 c); choose a larger submodule, around all uses."
            )
        return len(calls)

    def check_inputs_fixed(self, path: str, names: Iterable[str]) -> int:
        """Refuse if the inputs of a submodule depend on these parameters; how often the model calls it.

        Raises:
            ValueError: If they do.
        """
        names, calls = tuple(names), self._calls(path)
        with watched(submodule(self._twin, path)) as again:
            self._verifier.change(names, lambda: self._shake(names))
        if calls and again and _difference(calls[:1], again[:1]) > TOLERANCE:
            raise ValueError(
                "extend: the data of the symmetry must not depend on what it moves; got inputs of "
                f"{path or 'the model'} that depend on {_listed(names)}; "
                "take the data where they enter the subnetwork, with data_at."
            )
        return len(calls)

    def error(self, symmetry: Symmetry, stated: float | None) -> float:
        """Largest relative change of the outputs (or of the loss) under random elements.

        Args:
            symmetry: The extended one.
            stated: The error that an approximate symmetry may have; None for one that is held to find's tolerance.

        Raises:
            ValueError: If they change by more.
        """
        if stated is None:
            kept, notes = self._verifier.verified([symmetry])
            scale = self._fails_at(symmetry) if kept and symmetry.exact else None
            if kept and scale is None:
                return float(kept[0].error or 0.0)
            change = (
                notes[0].rpartition(": ")[2]
                if notes
                else f"the outputs changed on inputs {scale:g} times as large"
            )
        else:
            limit = max(SLACK * stated, TOLERANCE)
            error = max(self._verifier.error([symmetry]) for _ in range(ELEMENTS))
            if error <= limit:
                return error
            change = f"the {self._kept} changed by {error:.1e}, where its own error of {stated:.0e} allows {limit:.0e}"
        raise ValueError(
            f"extend: a symmetry of {self.at} must leave the {self._kept} of the whole model as they are; got "
            f"{symmetry.family} {symmetry.name}: {change}; either the model needs more of these parameters than what "
            f"{self.at} returns (dissertation, Figure 6.2 c), or this is no symmetry of what {self.at} returns."
        )

    def _fails_at(self, symmetry: Symmetry) -> float | None:
        """The first scale of the inputs, at another point, at which a symmetry does not hold.

        It may be one where no unit changes its sign only. Large inputs cost digits: so many more are forgiven as the
        outputs lose if all parameters are rounded once more; where few are left, nothing can be told.
        """
        verifier, tensors = self._verifier, self._verifier.tensors
        for scale in SCALES if sum(t.numel() for t in tensors.values()) <= MANY else SCALES[:1]:
            verifier.perturb()
            verifier.vary(scale)
            moved = {n: t.detach() for n, t in symmetry.act(verifier._element(symmetry), tensors).items()}
            rounded = {n: _rounded(t, moved.get(n, t), verifier.random) for n, t in tensors.items()}
            error, lost = (verifier.change(new, partial(_write, tensors, new)) for new in (moved, rounded))
            if error > max(TOLERANCE, ROUNDINGS * lost) and ROUNDINGS * lost < NEARLY:
                return scale
        verifier.return_to_examples()
        return None

    def change(self, symmetry: Symmetry) -> float:
        """Relative change of the outputs (or of the loss) under one random element."""
        return self._verifier.error([symmetry])

    def check_moves(self, symmetry: Symmetry) -> None:
        """The negative control: elements move the parameters, and moving them otherwise changes the outputs.

        Raises:
            ValueError: If one does not hold, for then `error` showed nothing.
        """
        verifier = self._verifier
        tensors, names = verifier.tensors, symmetry.parameters
        with torch.no_grad():
            moved = symmetry.act(verifier._element(symmetry), tensors)
            distance = max(relative_change(tensors[name], moved[name]) for name in names)
        if distance <= BROKEN:
            raise ValueError(
                f"extend: an element must move the parameters; got {', '.join(names[:3])}, which moved by "
                f"{distance:.0e} of their size; the symmetry is trivial here: give other inputs, or another one."
            )
        # Of a translation, whose whole point may be that nothing sees it, no more can be asked.
        if symmetry.family == "translation":
            return
        for attempt in range(FEW):
            if attempt:
                verifier.perturb()
                verifier.vary()
            if verifier.change(names, lambda: self._shake(names)) > BROKEN:
                return
        raise ValueError(
            f"extend: the {self._kept} must depend on what moves, or nothing is shown; got "
            f"{', '.join(names[:3])}, which can be shaken without a change; give inputs that reach the subnetwork."
        )

    def _calls(self, path: str) -> list[Call]:
        self._verifier.reference(False)
        with watched(submodule(self._twin, path)) as calls:
            self._verifier.outputs()
        return calls

    def _leak(self, path: str, names: Iterable[str], calls: list[Call]) -> float:
        with watched(submodule(self._twin, path), calls) as again:
            try:
                outputs = self._verifier.change(names, lambda: self._shake(names))
            except Exception:  # It reads what the submodule leaves behind when it computes, whatever that is.
                return float("inf")
        return max(outputs, _difference(calls, again))

    def _shake(self, names: Iterable[str]) -> None:
        for name in names:
            t, random = self._verifier.tensors[name], self._verifier.random
            noise = torch.randn(t.shape, generator=random, dtype=t.dtype).to(t.device)
            if name.endswith("running_var"):
                t.mul_((0.3 * noise).exp_())
            else:
                t.add_(noise, alpha=0.3 * float(t.square().mean().sqrt()) + 0.1)


def _write(tensors: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> None:
    for name, t in new.items():
        tensors[name].copy_(t)


def _rounded(before: Tensor, after: Tensor, random: torch.Generator) -> Tensor:
    """The tensor with a rounding of the size that it has there, or after a move."""
    noise = torch.randn(before.shape, generator=random, dtype=before.dtype).to(before.device)
    return before + torch.finfo(before.dtype).eps * torch.maximum(before.abs(), after.abs()) * noise


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _difference(before: list[Call], after: list[Call]) -> float:
    if len(before) != len(after):
        return float("inf")
    pairs = zip(_inputs(before), _inputs(after), strict=True)
    return max((relative_change(a, b) for a, b in pairs), default=0.0)


def _inputs(calls: list[Call]) -> list[Tensor]:
    trees = [(c.args, c.kwargs) for c in calls]
    return [t for t in tree_leaves(trees) if isinstance(t, Tensor)]
