"""Figure 6.2 as models: two subnetworks whose symmetries are those of the whole, and some where they are not."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from isoloss.discovery.extension._extend import extend, unchecked
from isoloss.discovery.extension._trial import Trial
from isoloss.finding import find
from isoloss.symmetry import Symmetries


@dataclass(frozen=True)
class Verdict:
    """What became of the symmetries of a subnetwork in one network.

    Attributes:
        panel: Of the figure: "a", "b" or "c".
        network: What the network is, in words.
        accepted: Were all symmetries extended? (Where some were, and some were not, this is False.)
        refused: How many were refused.
        symmetries: How many the subnetwork has.
        change: Largest relative change of the network's outputs if each is extended without being asked.
        reason: The message of the first refusal.
    """

    panel: str
    network: str
    accepted: bool
    refused: int
    symmetries: int
    change: float
    reason: str = ""

    def __str__(self) -> str:
        said = "accepted" if self.accepted else f"refused ({self.refused} of {self.symmetries})"
        return f"({self.panel}) {self.network}: {said}; moved anyway, the outputs change by {self.change:.0e}"


class Around(nn.Module):
    """A network with a subnetwork f of two layers, whose parameters it may also read beside what f returns.

    Args:
        width: Hidden units of f.
        use: "": the output of f only, twice, and a skip around f. "hidden": also what f computes in between.
            "weight": also the first layer's weight, for another input. "norm": also the size of the last weight.
    """

    def __init__(self, width: int = 4, use: str = ""):
        super().__init__()
        self.before = nn.Linear(3, 3)
        self.f = _small(width)
        self.after = nn.Linear(3 if use in ("", "norm") else 3 + width, 2)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        s = self.before(x).tanh()
        y = self.f(s)
        y = y + s + y.sin()
        if self.use == "hidden":
            y = torch.cat([y, self.f[1](self.f[0](s))], -1)
        if self.use == "weight":
            y = torch.cat([y, linear(x, self.f[0].weight)], -1)  # type: ignore[arg-type]
        if self.use == "norm":
            y = y * self.f[2].weight.square().mean()  # type: ignore[operator]
        return self.after(y)


def verdicts(seed: int = 0) -> tuple[Verdict, ...]:
    """Extend the symmetries that `find` sees in a LeakyReLU network of one hidden layer, to networks around it.

    A wider network (a) and a deeper one (b) inherit them all. One that needs the parameters in addition to what the
    subnetwork returns (c) does not; a skip around the subnetwork does no harm.

    Args:
        seed: Of the weights, the inputs and the trials.

    References:
        Dissertation, Figure 6.2.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wide, x = _small(7), torch.randn(6, 3)
        deep = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), _small(4), nn.Tanh(), nn.Linear(3, 2))
        found = find(_small(4), x, seed=seed)
        networks = [Around(use=use) for use in ("hidden", "weight", "norm", "")]
    first = {
        "0.weight": ("0.weight", slice(4)),
        "0.bias": ("0.bias", slice(4)),
        "2.weight": ("2.weight", (slice(None), slice(4))),
        "2.bias": "2.bias",
    }
    words = (
        "a skip from inside the subnetwork",
        "a second use of its first weight",
        "the size of its last weight",
    )
    judge = partial(_judged, found, inputs=x, seed=seed)
    return (
        judge("a", "some units of a wider layer", wide, first),
        judge("b", "some layers of a deeper network", deep, "2"),
        judge("b", "a skip around the subnetwork", networks[3], "f"),
        *(judge("c", text, network, "f") for text, network in zip(words, networks[:3], strict=True)),
    )


def _small(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.LeakyReLU(), nn.Linear(width, 3))


def _judged(
    found: Symmetries, panel: str, network: str, model: nn.Module, at: Any, *, inputs: Tensor, seed: int
) -> Verdict:
    reasons, change = [], 0.0
    trial = Trial(model, inputs, network, None, seed, wander=True)
    for symmetry in found:
        change = max(change, trial.change(unchecked(symmetry, model, at, inputs)))
        try:
            extend(symmetry, into=model, at=at, inputs=inputs, seed=seed)
        except ValueError as refusal:
            reasons.append(str(refusal))
    return Verdict(
        panel, network, not reasons, len(reasons), len(found), change, reasons[0] if reasons else ""
    )
