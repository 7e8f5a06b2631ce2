"""Models of one architecture, stacked, that predict together."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import log
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import one_hot

from isoloss._checks import is_whole
from isoloss._files import write_file
from isoloss.ensemble._evaluation import Randomness, Recorder, looped, mapped, settings, undisturbed
from isoloss.ensemble._tensors import equal, stacked, with_tensors
from isoloss.symmetry import named_tensors

Mean = Literal["logits", "probabilities"]
By = Literal["mode", "mean"]
Evaluation = Literal["auto", "vmap", "recorded", "loop"]


class Ensemble(nn.Module):
    r"""Many models of one architecture as one module, evaluated together.

    Tensors that differ between members are stacked along a new first dimension; all others are held once, and what
    depends on these alone is computed once. The stacked tensors are ordinary parameters: `to`, `train`, `eval`,
    `state_dict` and optimizers work as for any module.

    Calling it gives the mean of the members, which has gradients; `predict` gives classes, by the mode (majority
    vote) as in the dissertation, or by that mean.

    Args:
        model: One model of the architecture; left as it is.
        members: For each member the tensors in which it differs from the model, by name (parameters and buffers; a
            tied tensor under its first name).
        mean: What is averaged: "logits" the outputs; "probabilities" their softmax, of which the logarithm is
            returned, so that cross entropy takes either.
        classes: The axis of the classes in the outputs of one member.
        output: Picks the outputs from what the model returns, if that is not a tensor.
        evaluation: "vmap" evaluates all members together; "recorded" does so and, in eval mode, replays the list of
            operations for inputs of the same shapes: faster for small networks, but what the modules do besides
            operations on tensors is done once. "auto" records, at the second call with a shape, where that is known
            to be safe (modules of torch.nn only, in eval mode, without hooks), and else is "vmap". "loop" takes one
            member after another, for models that vmap cannot run.
        chunk: Members evaluated at a time, to save memory; all if None.
        randomness: What dropout in training mode does: "different" for each member, "same", or "error".
        own: Names, or beginnings of names, of tensors that are stacked although they do not differ: statistics of
            norms, say, that training will make different.
        agree: Whether the members are known to compute the same function; said when printed.

    Raises:
        ValueError: If there is no member, or one does not fit the model.

    References:
        Dissertation, section 2.9: the mode of the members' predictions.
    """

    def __init__(
        self,
        model: nn.Module,
        members: Iterable[Mapping[str, Tensor]],
        *,
        mean: Mean = "logits",
        classes: int = -1,
        output: Callable[[Any], Tensor] | None = None,
        evaluation: Evaluation = "auto",
        chunk: int | None = None,
        randomness: Randomness = "different",
        own: Iterable[str] = (),
        agree: bool = False,
    ):
        super().__init__()
        _check_choice("mean", mean, Mean)
        _check_choice("evaluation", evaluation, Evaluation)
        _check_choice("randomness", randomness, Randomness)
        if chunk is not None and not is_whole(chunk, 1):
            raise ValueError(f"Ensemble: chunk must be a positive integer or None; got {chunk!r}.")
        tensors = named_tensors(model)
        given = _checked(tensors, list(members))
        names = _differing(tensors, given) | _beginning(own, tensors)
        names = names or set(tensors)
        if not names:
            raise ValueError("Ensemble: the model must have parameters or buffers; got one without.")
        self.mean, self.classes, self.output = mean, classes, output
        self.evaluation, self.chunk, self.agree = evaluation, chunk, agree
        self.randomness: Randomness = randomness
        self._own = tuple(name for name in tensors if name in names)
        self._count = len(given)
        self._recorder = Recorder()
        stacks = {name: stacked([m.get(name, tensors[name]) for m in given]) for name in self._own}
        self.net = with_tensors(model, stacks)
        # Where its tensors are kept, for looking for them takes longer than evaluating a small network.
        self._kept = _places(self.net)
        self._ties = _ties(self.net)
        self._parts = list(self.net.modules())
        self.training = model.training

    @classmethod
    def of(cls, models: Sequence[nn.Module], **options: Any) -> "Ensemble":
        """An ensemble of models of one architecture, wherever they come from.

        Args:
            models: At least one; code and settings are those of the first.
            options: See the class.
        """
        models = list(models)
        if not models:
            raise ValueError("Ensemble.of: needs at least one model; got none.")
        return cls(models[0], [named_tensors(m) for m in models], **options)

    def outputs(self, *args: Any, **kwargs: Any) -> Tensor:
        """What every member returns, shape (member, *output).

        Args:
            args: Inputs of the model; all members get the same.
            kwargs: More of them.

        Raises:
            ValueError: If torch.vmap cannot run the model.
            TypeError: If a member returns something else than a tensor.
        """
        tensors = {name: holder[key] for name, holder, key in self._kept}
        own = {name: tensors.pop(name) for name in self._own}
        shared, inputs = tensors, (args, kwargs)
        if self.evaluation == "loop":
            return looped(self._one, own, shared, inputs)
        try:
            if self.evaluation == "auto":
                about = settings(self.net) if self.output is None and undisturbed(inputs) else None
                if (
                    about
                    and (y := self._recorder.again(self._one, own, shared, inputs, self.chunk, about))
                    is not None
                ):
                    return y
            if self.evaluation == "recorded" and not any(part.training for part in self._parts):
                return self._recorder(self._one, own, shared, inputs, self.chunk)
            return mapped(self._one, own, shared, inputs, self.randomness, self.chunk)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            self._try_alone(own, shared, inputs)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"Ensemble: torch.vmap must be able to run {type(self.net).__name__}; it said {reason!r}; pass "
                "evaluation='loop', or, if statistics in training mode are the reason, eval() or own=[their names]."
            ) from error

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The mean of the members: of their logits, or the logarithm of that of their probabilities."""
        y = self.outputs(*args, **kwargs)
        if self.mean == "logits":
            return y.mean(0)
        return y.log_softmax(self._axis).logsumexp(0) - log(self._count)

    def votes(self, *args: Any, **kwargs: Any) -> Tensor:
        """How many members choose each class, shape of the output of one member, int64."""
        y = self.outputs(*args, **kwargs)
        if y.dim() < 2:
            raise ValueError(
                f"Ensemble: members must return a number per class to vote; got outputs of shape {tuple(y.shape[1:])}; "
                "call the ensemble for the mean."
            )
        votes = one_hot(y.argmax(self._axis), y.shape[self._axis]).sum(0)
        return votes.movedim(-1, self.classes)

    def predict(self, *args: Any, by: By = "mode", **kwargs: Any) -> Tensor:
        """The classes that the ensemble predicts.

        Args:
            args: Inputs of the model.
            by: "mode" for the class that most members choose, the first of those that tie; "mean" for the largest
                of what calling the ensemble returns.
            kwargs: More inputs.
        """
        _check_choice("by", by, By)
        vote = self.votes if by == "mode" else self
        with torch.no_grad():
            return vote(*args, **kwargs).argmax(self.classes)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> nn.Module:
        """A member as a model of its own, which shares no memory with the ensemble."""
        if not -self._count <= index < self._count:
            raise IndexError(f"Ensemble: a member is counted from 0; got {index} of {self._count}.")
        i = range(self._count)[index]
        tensors = named_tensors(self.net)
        return with_tensors(self.net, {name: tensors[name][i].clone() for name in self._own})

    def __iter__(self) -> Iterator[nn.Module]:
        return (self[i] for i in range(self._count))

    def member_state_dict(self, index: int) -> dict[str, Tensor]:
        """The state_dict of one member, with the keys of the model's own."""
        return self[index].state_dict()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all tensors as safetensors; never leaves half a file."""
        from safetensors.torch import save

        # Cloned: safetensors refuses tensors that share memory.
        tensors = {n: t.detach().clone().contiguous() for n, t in named_tensors(self.net).items()}
        about = {"members": self._count, "own": self._own, "mean": self.mean, "classes": self.classes}
        about |= {"agree": self.agree}
        write_file(path, save(tensors, metadata={"isoloss.ensemble": json.dumps(about)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: nn.Module, **options: Any) -> "Ensemble":
        """Read an ensemble that `save` wrote.

        Args:
            path: The file.
            model: A model of the architecture; its weights do not matter, its settings and mode do.
            options: See the class; those saved are mean, classes and agree.

        Raises:
            ValueError: If the file holds no ensemble, or one of another architecture.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("isoloss.ensemble", "null"))
                known = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except SafetensorError as error:
            raise ValueError(
                f"Ensemble.load: the file must be one that save wrote; got {path} ({error})."
            ) from error
        if about is None:
            raise ValueError(f"Ensemble.load: the file must hold an ensemble; got {path}, which has none.")
        options = {name: about[name] for name in ("mean", "classes", "agree")} | options
        own = set(about["own"])
        shapes = {n: tuple(t.shape[1:] if n in own else t.shape) for n, t in known.items()}
        if shapes != (wanted := {n: tuple(t.shape) for n, t in named_tensors(model).items()}):
            odd = min(n for n in shapes.keys() | wanted.keys() if shapes.get(n) != wanted.get(n))
            raise ValueError(
                f"Ensemble.load: the model must be of the architecture that was saved; got {odd} of shape "
                f"{wanted.get(odd)} for one of {shapes.get(odd)}; None stands for a tensor that is absent."
            )
        base = with_tensors(model, {n: t for n, t in known.items() if n not in own})
        members = [{n: known[n][i] for n in own} for i in range(about["members"])]
        return cls(base, members, own=(*options.pop("own", ()), *about["own"]), **options)

    def extra_repr(self) -> str:
        """What nn.Module prints above the stacked network."""
        text = f"{self._count} members, {len(self._own)} tensors of their own, mean of {self.mean}"
        return f"{text}; members agree on every input" if self.agree else text

    @property
    def _axis(self) -> int:
        return self.classes if self.classes < 0 else self.classes + 1

    def _one(self, own: dict[str, Tensor], shared: dict[str, Tensor], inputs: Any) -> Tensor:
        args, kwargs = inputs
        tensors = shared | own
        tensors |= {name: tensors[first] for name, first in self._ties}
        y = functional_call(self.net, tensors, args, kwargs, tie_weights=False)
        y = y if self.output is None else self.output(y)
        if not isinstance(y, Tensor):
            raise TypeError(
                f"Ensemble: a member must return one tensor; got {type(y).__name__}; "
                "pick it by output=, for instance output=lambda y: y.logits."
            )
        return y

    @torch.no_grad()
    def _try_alone(self, own: dict[str, Tensor], shared: dict[str, Tensor], inputs: Any) -> None:
        """Run one member by itself, on copies, so that an error of the model is raised as such."""
        first = {name: t[0].clone() for name, t in own.items()}
        self._one(first, {name: t.clone() for name, t in shared.items()}, inputs)


def _places(net: nn.Module) -> list[tuple[str, dict[str, Any], str]]:
    """Name of each parameter and buffer, and the dictionary and key where its module keeps it."""
    modules, found = dict(net.named_modules(remove_duplicate=False)), []
    for name in named_tensors(net):
        owner, _, key = name.rpartition(".")
        module = modules[owner]
        found.append((name, module._parameters if key in module._parameters else module._buffers, key))
    return found


def _ties(net: nn.Module) -> list[tuple[str, str]]:
    """Further names of tied tensors, each with the first name."""
    first = {id(t): name for name, t in named_tensors(net).items()}
    every = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
    return [(name, first[id(t)]) for name, t in every if first[id(t)] != name]


def _checked(
    tensors: Mapping[str, Tensor], members: list[Mapping[str, Tensor]]
) -> list[Mapping[str, Tensor]]:
    if not members:
        raise ValueError("Ensemble: needs at least one member; got none.")
    for i, member in enumerate(members):
        for name, t in member.items():
            if name not in tensors:
                raise ValueError(
                    f"Ensemble: members have the tensors of the model; got {name!r} in member {i}, which the model "
                    "lacks; all members must have one architecture (a tied tensor goes by its first name)."
                )
            if t.shape != tensors[name].shape:
                raise ValueError(
                    f"Ensemble: members have one architecture; got {name} of shape {tuple(t.shape)} in member {i}, "
                    f"{tuple(tensors[name].shape)} in the model."
                )
    return members


def _differing(tensors: Mapping[str, Tensor], members: list[Mapping[str, Tensor]]) -> set[str]:
    """Names of the tensors in which some member differs from the model."""
    named = dict.fromkeys(name for m in members for name in m)
    return {name for name in named if any(name in m and not equal(m[name], tensors[name]) for m in members)}


def _beginning(beginnings: Iterable[str], tensors: Mapping[str, Tensor]) -> set[str]:
    found: set[str] = set()
    for beginning in beginnings:
        some = {n for n in tensors if n == beginning or n.startswith(f"{beginning.rstrip('.')}.")}
        if not some:
            raise ValueError(f"Ensemble: own= names tensors or modules of the model; got {beginning!r}.")
        found |= some
    return found


def _check_choice(name: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        allowed = ", ".join(repr(c) for c in get_args(choices))
        raise ValueError(f"Ensemble: {name} must be one of {allowed}; got {value!r}.")
