"""The table of Theorem 2.3.8: dimensions of orbits over a grid of sizes, against the formulas."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoloss import find
from isoloss.landscape import generic_orbit_dimension, orbit_dimension, published_orbit_dimension
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, legend
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each


class RadialRescaling(nn.Module):
    """The activation f(|z|) z with f = tanh."""

    def forward(self, z: Tensor) -> Tensor:
        """Rescale rows."""
        return z * torch.tanh(z.square().sum(-1, keepdim=True))


MODULES: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "homogeneous": nn.LeakyReLU,
    "radial": RadialRescaling,
}
GROUPS = {"linear": "GL(h)", "homogeneous": "positive rescaling", "radial": "O(h)"}


@dataclass(frozen=True)
class Orbits(Settings):
    """All triples of these sizes; the theorem has no experiment."""

    seeds: int = 3
    """Random points in each network."""
    outer: tuple[int, ...] = (1, 2, 3, 4)
    """Numbers of inputs, and of outputs."""
    hidden: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


def dimensions(settings: Orbits, activation: str, m: int) -> dict[str, Any]:
    """Measured at random points and at the pair of the proof, for all numbers of hidden units and of inputs."""
    rows = []
    for h in settings.hidden:
        for n in settings.outer:
            first, second = nn.Linear(n, h, bias=False), nn.Linear(h, m, bias=False)
            model = nn.Sequential(first, MODULES[activation](), second).double()
            found = find(model, torch.randn(4, n).double())
            points = [
                {
                    "0.weight": torch.randn(h, n, generator=g).double(),
                    "2.weight": torch.randn(m, h, generator=g).double(),
                }
                for g in (torch.Generator().manual_seed(s) for s in range(settings.seeds))
            ]
            special = {"0.weight": torch.eye(h, n).double(), "2.weight": torch.eye(m, h).double()}
            rows.append(
                {
                    "sizes": [m, h, n],
                    "measured": sorted({orbit_dimension(p, found).dimension for p in points}),
                    "special": orbit_dimension(special, found).dimension,
                    "published": published_orbit_dimension(m, h, n, activation),  # type: ignore[arg-type]
                    "generic": generic_orbit_dimension(m, h, n, activation),  # type: ignore[arg-type]
                }
            )
    return {"rows": rows}


def judge(results: dict[str, Any]) -> list[Finding]:
    """The theorem for each activation; then what holds instead, and where the theorem's numbers are right."""
    found = []
    for activation, rows in results["rows"].items():
        off = [r for r in rows if r["measured"] != [r["published"]]]
        found.append(
            Finding(
                f"{activation}: the dimension of a generic orbit of {GROUPS[activation]} is that of Theorem 2.3.8",
                not off,
                _differences(rows, off),
            )
        )
    everything = [r for rows in results["rows"].values() for r in rows]
    off = [r for r in everything if r["measured"] != [r["generic"]]]
    found.append(
        Finding(
            "generic orbits have h² - (h - n)₊ (h - m)₊, h and C(h, 2) - C((h - n - m)₊, 2) dimensions",
            not off,
            _differences(everything, off),
            "control",
        )
    )
    off = [r for r in everything if r["special"] != r["published"]]
    found.append(
        Finding(
            "the theorem's numbers are those of the pair U = [1 0], V = [1 0]^T of its proof",
            not off,
            _differences(everything, off),
            "control",
        )
    )
    return found


def _differences(rows: list[dict[str, Any]], off: list[dict[str, Any]]) -> str:
    if not off:
        return f"in all of {len(rows)} networks"
    beyond = all(r["sizes"][1] > max(r["sizes"][0], r["sizes"][2]) for r in off)
    where = f"otherwise in {len(off)} of {len(rows)} networks" + (
        ", all with h > max(n, m)" if beyond else ""
    )
    worst = off[0]
    sizes = tuple(worst["sizes"])
    return f"{where}: at (m, h, n) = {sizes} {worst['measured'][0]}, the theorem has {worst['published']}"


def plot(results: dict[str, Any]):
    """A panel per activation: measured dimensions against h, with the theorem's and those that hold."""
    figure, axes = canvas(1, len(results["rows"]), width=3.8, height=3.3)
    for axis, (activation, rows) in zip(axes[0], results["rows"].items(), strict=True):
        most = max(r["sizes"][0] for r in rows)
        pairs = list(dict.fromkeys(((1, 1), (1, min(2, most)), (most, most))))
        for i, (m, n) in enumerate(pairs):
            chosen = [r for r in rows if (r["sizes"][0], r["sizes"][2]) == (m, n)]
            h = [r["sizes"][1] for r in chosen]
            axis.plot(h, [r["generic"] for r in chosen], color=color(i), linewidth=1.2)
            axis.plot(h, [r["published"] for r in chosen], color=color(i), linewidth=1.2, linestyle="--")
            axis.plot(
                h,
                [r["measured"][0] for r in chosen],
                "o",
                color=color(i),
                markersize=8 - 2 * i,  # where they lie on one another
                label=f"m = {m}, n = {n}",
            )
        axis.set(
            title=f"{activation}: {GROUPS[activation]}", xlabel="hidden units h", ylabel="orbit dimension"
        )
    axes[0][0].plot([], [], color="#555555", linewidth=1.2, label="as derived here")
    axes[0][0].plot([], [], color="#555555", linewidth=1.2, linestyle="--", label="Theorem 2.3.8")
    legend(axes[0][0])
    return figure


@experiment(
    "orbits",
    shows="Theorem 2.3.8",
    paper="Dissertation, Section 2.3.3, Appendix A.2.6",
    claim="The dimension of a generic orbit of (U, V) is h² or h (n + m) - n m under GL(h), h or max(n, m) under "
    "positive rescalings, C(h, 2) or C(h, 2) - C(h - max(m, n), 2) under O(h), the first for h <= max(n, m), the "
    "second beyond.",
    settings=Orbits,
    quick={"hidden": (1, 2, 3, 4, 5, 6, 7, 8)},
    judge=judge,
    plot=plot,
)
def orbits(settings: Orbits, each: Each) -> dict[str, Any]:
    """All activations and sizes."""
    cases = [{"activation": a, "m": m} for a in MODULES for m in settings.outer]
    told: dict[str, Any] = {a: [] for a in MODULES}
    for case, run in zip(cases, each(dimensions, cases), strict=True):
        told[case["activation"]] += run["rows"]
    return {"rows": told}
