"""What an experiment is: a claim of a paper, the settings it was made at, and how it is put to the test."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from isoloss._checks import is_whole
from isoloss.reproduce._data import DATA_FOLDER
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each

Results = dict[str, Any]
"""What a study returns: numbers, texts, lists and dictionaries of them, as JSON holds them."""


@dataclass(frozen=True)
class Settings:
    """What every experiment can be told; each adds its own fields, with the paper's values as defaults."""

    seeds: int = 5
    """Independent repetitions."""
    data: str = DATA_FOLDER
    """Folder with mnist.npz, fashion_mnist.npz, cifar10.npz or cifar10_small.npz; what is absent is downloaded."""


@dataclass(frozen=True)
class Experiment:
    """A figure or table of a paper, as one thing that can be run.

    Attributes:
        name: As the command line knows it.
        shows: The figure or table.
        paper: Where it is, and where its settings are described.
        claim: What the paper says that it shows.
        settings: Dataclass of the settings; its defaults are the paper's.
        quick: The fields that are reduced for a small machine.
        study: Computes the results, with every independent run going through `Each`.
        judge: The verdict, from the results alone.
        plot: The figure, from the results alone.
        timed: Do the runs measure time? Then they run one after another.
    """

    name: str
    shows: str
    paper: str
    claim: str
    settings: type[Settings]
    quick: Mapping[str, Any]
    study: Callable[[Any, Each], Results]
    judge: Callable[[Results], list[Finding]]
    plot: Callable[[Results], Any]
    timed: bool = False

    def configure(self, *, quick: bool, changes: Mapping[str, Any] | None = None) -> Settings:
        """The settings: the paper's, or the reduced ones, with further changes.

        Raises:
            ValueError: If there is no such setting, or it is of another kind.
        """
        chosen = {**(self.quick if quick else {}), **(changes or {})}
        if unknown := sorted(set(chosen) - self.fields):
            raise ValueError(
                f"reproduce: {self.name} has the settings {', '.join(sorted(self.fields))}; "
                f"got {', '.join(unknown)}; see docs/reproduce.md."
            )
        self._check_types(changes or {})
        return self.settings(**chosen)

    def _check_types(self, changes: Mapping[str, Any]) -> None:
        """A setting is of the kind of the paper's: a number for a number, several for several; and there is a seed."""
        paper = self.settings()
        for name, value in changes.items():
            known = getattr(paper, name)
            if _is_number(known) and not _is_number(value):
                raise ValueError(
                    f"reproduce: {name} must be a number, such as {known}; got {value!r}; write --set {name}={known}."
                )
            if isinstance(known, tuple | list) and not isinstance(value, tuple | list):
                raise ValueError(
                    f"reproduce: {name} must be several values, such as {known}; got {value!r}; "
                    "separate them as in Python."
                )
        if not is_whole(changes.get("seeds", 1), 1):
            raise ValueError(
                f"reproduce: seeds must be a whole number of at least 1; got {changes['seeds']!r}; write --set seeds=3."
            )

    @property
    def fields(self) -> frozenset[str]:
        """The names of its settings."""
        return frozenset(field.name for field in dataclasses.fields(self.settings))

    def reductions(self, settings: Settings) -> dict[str, tuple[Any, Any]]:
        """For every setting that is not the paper's: the paper's value and this one."""
        paper = self.settings()
        pairs = {
            f.name: (getattr(paper, f.name), getattr(settings, f.name)) for f in dataclasses.fields(paper)
        }
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name != "data"}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def experiment(
    name: str,
    *,
    shows: str,
    paper: str,
    claim: str,
    settings: type[Settings],
    quick: Mapping[str, Any],
    judge: Callable[[Results], list[Finding]],
    plot: Callable[[Results], Any],
    timed: bool = False,
) -> Callable[[Callable[[Any, Each], Results]], Experiment]:
    """Turn a study into an experiment; the arguments are the attributes of `Experiment`.

    A new experiment is one file in `experiments` and one line in its `EXPERIMENTS`.
    """

    def decorate(study: Callable[[Any, Each], Results]) -> Experiment:
        return Experiment(name, shows, paper, claim, settings, quick, study, judge, plot, timed)

    return decorate
