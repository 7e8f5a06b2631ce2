"""How a meta-optimizer is trained."""

from dataclasses import dataclass
from typing import Any, Literal

from isoloss._checks import is_size, is_whole
from isoloss.learn.training._objective import OBJECTIVES, WEIGHTS

Estimator = Literal["backprop", "evolution"]


@dataclass(frozen=True)
class Recipe:
    """How a meta-optimizer is trained: Algorithm 1 of the 2025 paper, on a batch of tasks at a time.

    Attributes:
        runs: Training runs R, each on newly drawn tasks.
        batch: Tasks of a run, trained together.
        horizon: Steps N of a run.
        unroll: Steps T between two updates of the meta-optimizer; gradients do not pass from one stretch to the next.
        curriculum: Unroll lengths before that: (3, 10, 5, 20), say, for 10 in the first three tenths of the runs, and
            20 in the next five.
        lr: Learning rate of Adam on the meta-optimizer, falling to a hundredth of it along a cosine.
        part_lr: Factors of it for some parts: (("tele", 10.0),), say.
        clip: Largest norm of a meta-gradient.
        limit: Largest effect, of a change of one optimizee's weights by as much as its last step, on its part of the
            meta-loss (backprop); larger slopes are shortened on their way back. Where trajectories are chaotic a few of
            them would drown all others. Infinity passes them as they are.
        weights: The w_t within a stretch, a name in `WEIGHTS`.
        objective: What of the losses is averaged, a name in `OBJECTIVES`.
        estimator: "backprop" through the steps, or "evolution": antithetic random changes of the meta-optimizer.
        pairs: Of them, for each estimate.
        sigma: Their size.
        second_order: Differentiate the gradients that are shown, too (backprop).
        segment: Steps between two points that are kept for backpropagation; what lies between is computed twice. None
            keeps all.
        validate: Runs between two validations; 0 for never.
        validation: Tasks of it, the same each time, and not trained on.
        patience: Updates or runs in a row that may fail, before training is given up.
        seed: Of everything that is drawn.

    Raises:
        ValueError: If one is out of range.
    """

    runs: int = 60
    batch: int = 16
    horizon: int = 100
    unroll: int = 20
    curriculum: tuple[int, ...] = ()
    lr: float = 1e-2
    part_lr: tuple[tuple[str, float], ...] = ()
    clip: float = 1.0
    limit: float = 0.1
    weights: str = "uniform"
    objective: str = "log"
    estimator: Estimator = "backprop"
    pairs: int = 8
    sigma: float = 0.02
    second_order: bool = False
    segment: int | None = None
    validate: int = 5
    validation: int = 16
    patience: int = 10
    seed: int = 0

    @classmethod
    def published(cls, runs: int, **changes: Any) -> "Recipe":
        """As the papers train: one trajectory after another, 100 steps in stretches of 10, the sum of the losses.

        References:
            Dissertation, Section 5.5: rates 1e-4 for the update and 1e-3 for the group element.
        """
        settings: dict[str, Any] = {
            "runs": runs, "batch": 1, "unroll": 10, "lr": 1e-4, "clip": float("inf"),
            "limit": float("inf"), "objective": "value",
            "part_lr": (("tele", 10.0), ("lr", 10.0), ("momentum", 10.0)), "validate": 0,
        }  # fmt: skip
        return cls(**settings | changes)

    def __post_init__(self) -> None:
        for name in ("runs", "batch", "horizon", "unroll", "pairs", "validation", "patience"):
            if not is_whole(getattr(self, name), least=1):
                raise ValueError(
                    f"Recipe: {name} must be a whole number of at least 1; got {getattr(self, name)!r}."
                )
        for name in ("validate", "seed"):
            if not is_whole(getattr(self, name), least=0):
                raise ValueError(
                    f"Recipe: {name} must be a whole number of at least 0; got {getattr(self, name)!r}."
                )
        for name in ("lr", "clip", "limit", "sigma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Recipe: {name} must be positive; got {getattr(self, name)!r}.")
        for name, known in (
            ("weights", WEIGHTS),
            ("objective", OBJECTIVES),
            ("estimator", ("backprop", "evolution")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Recipe: {name} must be one of {', '.join(known)}; got {getattr(self, name)!r}."
                )
        from isoloss.learn.parts import PARTS

        if not all(
            isinstance(pair, tuple | list)
            and len(pair) == 2
            and pair[0] in PARTS
            and is_size(pair[1])
            and pair[1]
            for pair in self.part_lr
        ):
            raise ValueError(
                f"Recipe: part_lr must give positive factors for parts, {', '.join(PARTS)}; got {self.part_lr!r}; "
                'write (("tele", 10.0),), say.'
            )
        if len(self.curriculum) % 2 or not all(is_whole(n, least=1) for n in self.curriculum):
            raise ValueError(
                f"Recipe: a curriculum is pairs of tenths of the runs and unroll lengths; got {self.curriculum!r}; "
                "write (3, 10), say."
            )
        if self.segment is not None and not is_whole(self.segment, least=1):
            raise ValueError(
                f"Recipe: segment must be a whole number of at least 1, or None; got {self.segment!r}."
            )

    def unroll_in(self, run: int) -> int:
        """The unroll length in this run."""
        past = 0
        for tenths, length in zip(self.curriculum[::2], self.curriculum[1::2], strict=True):
            past += tenths
            if 10 * run < past * self.runs:
                return min(length, self.horizon)
        return min(self.unroll, self.horizon)
