"""How a symmetry is learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np

from isoloss._checks import is_length, is_size, is_whole
from isoloss.discovery.terms import TERMS

DEFAULT = MappingProxyType(
    {
        "relative_invariance": 10.0, "identity": 1.0, "associativity": 1.0, "norm": 1.0, "independence": 0.3,
        "sparsity": 1e-3,
    }
)  # fmt: skip
PUBLISHED = MappingProxyType(
    {
        "invariance": 10.0, "identity": 1.0, "associativity": 1.0, "norm": 1.0, "orthogonality": 1.0, "sparsity": 0.1,
    }
)  # fmt: skip
PUBLISHED_DEPENDENT = PUBLISHED | {"invariance": 1.0, "identity": 10.0, "norm": 10.0}


@dataclass(frozen=True)
class Recipe:
    r"""How a symmetry is learned: the weights of objective (6.3), and how it is minimized.

    Attributes:
        weights: Factors of the terms, by the names in `terms.TERMS`.
        beta: The length that directions should have.
        steps: Steps of Adam.
        batch: Samples, of parameters with data, in each.
        samples: Number of samples that are drawn once and used over and over; None draws new ones in every step.
        lr: Learning rate of the action map.
        generator_lr: That of the generators.
        decay: Whether both fall to zero along a cosine.
        clip: Largest norm of a gradient; infinity for any.
        validate: Steps between two measurements on samples that training does not see.
        validation: Number of these samples.
        patience: Measurements without a better one after which training stops; 0 for never.
        enough: Root of the relative invariance at which training stops, if the directions are independent: 0.01, say,
            for a hundredth of what random directions have. 0 for never.
        seed: Of everything that is drawn; samplers draw from torch's global generator, seeded for them.

    Raises:
        ValueError: If one is out of range.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT))
    beta: float = 1.0
    steps: int = 2000
    batch: int = 64
    samples: int | None = None
    lr: float = 3e-3
    generator_lr: float = 1e-2
    decay: bool = True
    clip: float = 10.0
    validate: int = 100
    validation: int = 256
    patience: int = 0
    enough: float = 0.0
    seed: int = 0

    @classmethod
    def published(cls, dependent: bool = False, **changes: Any) -> "Recipe":
        """As the dissertation trains.

        2000 samples and weights 10, 1, 1, 1, 0.1 of invariance, identity, norm, orthogonality and sparsity; for
        data-dependent symmetries 10000 samples and 1, 10, 10, 1, 0.1. Adam at 1e-3. Neither the weight of
        associativity nor the batch nor the number of passes is told: ours are 1, 64 and 2000 steps, as many as in its
        section 6.5.5.

        Args:
            dependent: For section 6.5.4 rather than 6.5.3.
            changes: Other fields.

        References:
            Dissertation, sections 6.5.3 and 6.5.4.
        """
        settings: dict[str, Any] = {
            "weights": dict(PUBLISHED_DEPENDENT if dependent else PUBLISHED),
            "samples": 10000 if dependent else 2000,
            "lr": 1e-3, "generator_lr": 1e-3, "decay": False, "clip": inf,
        }  # fmt: skip
        return cls(**settings | changes)

    @property
    def words(self) -> dict[str, Any]:
        """In words of JSON; infinity, for which it has none, as text."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        told["weights"] = {name: float(weight) for name, weight in self.weights.items()}
        numbers = {n: v.item() if isinstance(v, np.generic) else v for n, v in told.items()}
        return {n: "inf" if v == inf else v for n, v in numbers.items()}

    @classmethod
    def read(cls, words: Mapping[str, Any]) -> "Recipe":
        """From such words."""
        settings: dict[str, Any] = {n: inf if v == "inf" else v for n, v in words.items()}
        return cls(**settings)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate"):
            self._require(
                name, is_whole(getattr(self, name), least=1), "must be a whole number of at least 1"
            )
        # With one there are no other data to compare with.
        self._require(
            "validation", is_whole(self.validation, least=2), "must be a whole number of at least 2"
        )
        for name in ("patience", "seed"):
            self._require(name, is_whole(getattr(self, name)), "must be a whole number of at least 0")
        for name in ("lr", "generator_lr", "clip", "beta"):
            value = getattr(self, name)
            self._require(name, is_size(value) and value > 0, "must be positive")
        self._require("enough", is_size(self.enough), "must not be negative")
        fits = self.samples is None or is_whole(self.samples, least=1)
        self._require("samples", fits, "must be a whole number of at least 1, or None")
        if unknown := sorted(self.weights.keys() - TERMS.keys()):
            raise ValueError(
                f"Recipe: weights must be of known terms, {', '.join(TERMS)}; got {', '.join(unknown)}."
            )
        for name, weight in self.weights.items():
            if not is_length(weight) or weight < 0:
                raise ValueError(
                    f"Recipe: weights must be finite and not negative; got {weight!r} for {name}."
                )

    def _require(self, name: str, fits: bool, rule: str) -> None:
        if not fits:
            raise ValueError(f"Recipe: {name} {rule}; got {getattr(self, name)!r}.")
