"""How a meta-optimizer is made: all that its configuration file says."""

from dataclasses import dataclass
from math import inf
from typing import Any, Literal, get_args

from isoloss._checks import is_whole
from isoloss.learn.directions import DIRECTIONS

Network = Literal["coordinate", "whole"]
Units = Literal["rate", "direct"]
Order = Literal["before", "after"]
Velocity = Literal["keep", "push"]

HIDDEN = {"coordinate": 20, "whole": 300}
"""Units of an LSTM: of Andrychowicz et al. 2016 for one weight at a time, of the papers for all at once."""


@dataclass(frozen=True)
class Design:
    """How a meta-optimizer is made.

    The defaults are ours: they converge on tasks that were not trained on, over ten times the trained horizon.
    `Design.published` is what the papers describe.

    Attributes:
        variant: What is learned, names in `PARTS`: update, lr, momentum, tele.
        network: "coordinate" for LSTMs that see one weight, and one action, at a time with the same weights for all,
            so that they apply to any optimizee; "whole" for LSTMs that see all of the gradient at once.
        hidden: Units of each cell; None for 20 and 300.
        layers: Cells one above the other.
        raw: Show the gradient as it is, to a network of the kind "whole". Else each tensor's entries are shown relative
            to its root mean square, by logarithm and sign.
        units: What outputs mean. "rate": a learning rate per weight that the outputs raise and lower bit by bit, and a
            deviation from the gradient, so that steps shrink with the gradient. "direct": the outputs are the step.
        rate: First learning rate, as length of the first step over that of the weights ("rate"), or the largest
            learning rate ("direct", lr only).
        trust: Largest length of a step, as part of that of the weights now and at the start; inf for none.
        teleport_at: Steps at which to teleport, besides those of `every`.
        every: Teleport at each step divisible by it; None for never.
        order: Teleport "before" the local step, at the cost of one more gradient, or "after" it, as in the papers.
        directions: What elements are composed of, names in `DIRECTIONS` (network "coordinate").
        radius: Largest `group.norm` of the algebra element of one teleport.
        growth: Largest factor by which a teleport may lengthen the weights; longer ones are shortened, then refused.
        tolerance: Largest relative change of the loss by a teleport, treated likewise.
        velocity: What a teleport does to the velocity: "keep" it, as in the papers, or "push" it along.

    Raises:
        ValueError: If one is out of range.
    """

    variant: tuple[str, ...] = ("update", "tele")
    network: Network = "coordinate"
    hidden: int | None = None
    layers: int = 2
    raw: bool = False
    units: Units = "rate"
    rate: float = 0.3
    trust: float = 0.3
    teleport_at: tuple[int, ...] = (0, 20, 40, 60)
    every: int | None = None
    order: Order = "before"
    directions: tuple[str, ...] = ("scale", "whiten", "balance")
    radius: float = 4.0
    growth: float = 10.0
    tolerance: float = 1e-3
    velocity: Velocity = "keep"

    @classmethod
    def published(cls, *variant: str) -> "Design":
        """As the papers describe it: LSTMs of 300 units that read the gradient and put out the step, nothing bounded.

        References:
            Dissertation, Section 5.5; 2025 paper, Section 5.2. The bound 5e-3 on the learning rate is that of the
            published code. Differs: every part has an LSTM of its own, where the papers share one among all but f_t.
        """
        return cls(
            variant=variant,
            network="whole",
            raw=True,
            units="direct",
            rate=5e-3,
            trust=inf,
            teleport_at=(),
            every=1,
            order="after",
            radius=inf,
            growth=inf,
            tolerance=inf,
        )

    def __post_init__(self) -> None:
        from isoloss.learn.parts import PARTS

        self._check("variant", self.variant, set(PARTS), least=1)
        self._check("directions", self.directions, set(DIRECTIONS), least=1)
        for name, kinds in (("network", Network), ("units", Units), ("order", Order), ("velocity", Velocity)):
            self._check(name, (getattr(self, name),), set(get_args(kinds)), least=1)
        if not {"update", "lr"} & set(self.variant):
            raise ValueError(
                f"Design: something must lower the loss; got the variant {','.join(self.variant)}; add update or lr."
            )
        if self.raw and self.network != "whole":
            raise ValueError(
                "Design: raw is for the network 'whole'; got 'coordinate', which needs scaled features."
            )
        for name in ("rate", "trust", "radius", "growth", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"Design: {name} must be positive; got {getattr(self, name)}; inf bounds nothing."
                )
        if not all(is_whole(step) for step in self.teleport_at):
            raise ValueError(
                f"Design: teleport_at must be whole numbers of at least 0; got {self.teleport_at!r}; "
                "write (0,) for one before the first step."
            )
        for name in ("hidden", "layers", "every"):
            value = getattr(self, name)
            if not (is_whole(value, least=1) or (value is None and name != "layers")):
                raise ValueError(f"Design: {name} must be a whole number of at least 1; got {value!r}.")

    @property
    def units_per_cell(self) -> int:
        """Hidden units of each LSTM cell."""
        return HIDDEN[self.network] if self.hidden is None else self.hidden

    def jumps(self, step: int) -> bool:
        """Is there a teleport at this step?"""
        if "tele" not in self.variant:
            return False
        return step in self.teleport_at or (self.every is not None and step % self.every == 0)

    def _check(self, name: str, values: tuple[Any, ...], known: set[str], least: int) -> None:
        if (
            isinstance(values, str)
            or len(values) < least
            or not known.issuperset(values)
            or len(set(values)) < len(values)
        ):
            raise ValueError(
                f"Design: {name} must be of {', '.join(sorted(known))}, each once; got {values!r}; "
                f"write {name}={tuple(sorted(known))[:1]}, say."
            )
