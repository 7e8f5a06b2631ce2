"""Figure 6.6: the loss along curves that learned symmetries generate, against random curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._figure import canvas, curve, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run
from isoloss.reproduce.experiments._shared_architectures import ARCHITECTURES, LABELS
from isoloss.reproduce.experiments._shared_discovery import Discovered, by_design, curves, learn, told
from isoloss.reproduce.experiments._shared_discovery_figures import hide

BAR = 0.1
"""Largest ratio of the loss variation to that along random curves of the same length."""
DESIGNS = ("published", "ours")
FORMS = ("map", "flow")


@dataclass(frozen=True)
class DiscoveredCurves(Discovered):
    """Dissertation Section 6.5.4. The text gives neither lengths nor numbers of curves."""

    networks: tuple[str, ...] = tuple(ARCHITECTURES)
    starts: int = 64
    """Held-out parameters, with their data, at which curves begin."""
    length: float = 1.0
    """Of each curve in parameter space."""
    curve_points: int = 33
    random: int = 8
    """Random curves from each."""


def run(settings: DiscoveredCurves, network: str, design: str, seed: int) -> Run:
    """What is learned, and the loss along its curves."""
    found, run = learn(settings, network, design, seed)
    return run | {"curves": curves(settings, network, found, seed)}


def ratio(run: Run, form: str, against: str = "random") -> float:
    """The mean over generators of the loss variation along a whole curve, over that along random ones."""
    ends = [path[-1] for path in run["curves"][form]]
    reference = run["curves"][against][-1]
    if None in ends or not reference:
        return float("inf")
    return float(np.mean(ends)) / reference


def judge(results: dict[str, Any]) -> list[Finding]:
    """Lower than random for the published curves, in both senses of random, and the bar of a tenth."""
    found = []
    for network, of in results["runs"].items():
        published = [ratio(r, "map") for r in of["published"]]
        elements = [ratio(r, "map", "random elements") for r in of["published"]]
        found.append(
            Finding(
                f"{LABELS[network]}: along the published learned curves a_X(exp(h t), θ) the loss changes less than "
                "along random ones",
                max(published) < 1,
                f"{told(published)} times as much; {told(elements)} times that of random elements of the same learned "
                f"action; along its flow {told([ratio(r, 'flow') for r in of['published']])} times",
            )
        )
    for network, of in results["runs"].items():
        for design in DESIGNS:
            found.append(_finding_bar(network, design, of[design]))
    return found


def _finding_bar(network: str, design: str, runs: Sequence[Run]) -> Finding:
    values = {form: [ratio(r, form) for r in runs] for form in FORMS}
    return Finding(
        f"{LABELS[network]}, {design} ({runs[0]['action']}): along the flow at most a tenth of the change along random "
        "curves",
        max(values["flow"]) <= BAR,
        f"{told(values['flow'])} times; along the curves a_X(exp(h t), θ) {told(values['map'])} times",
        "control",
    )


def plot(results: dict[str, Any]):
    """A panel per architecture."""
    count = len(results["runs"])
    columns = min(count, 3)
    figure, axes = canvas(-(-count // columns), columns, width=3.4, height=2.7)
    lines = (
        ("published", "map", "-"),
        ("published", "flow", "--"),
        ("ours", "map", "-"),
        ("ours", "flow", "--"),
    )
    for axis, (network, of) in zip(axes.flat, results["runs"].items(), strict=False):
        t = of["ours"][0]["curves"]["t"][1:]
        every = [r for runs in of.values() for r in runs]
        curve(
            axis, t, [r["curves"]["random"][1:] for r in every], "random", 0, color="#555555", linewidth=1.8
        )
        for design, form, style in lines:
            paths = [_middle(r["curves"][form])[1:] for r in of[design]]
            curve(axis, t, paths, f"{design}, {form}", DESIGNS.index(design), linestyle=style)
        reference = np.mean([r["curves"]["random"][1:] for r in every], 0)
        axis.plot(t, BAR * reference, ":", color="#555555", linewidth=1.0, label="a tenth of random")
        logarithmic(axis, y=True)
        seen = np.concatenate([line.get_ydata() for line in axis.lines])
        seen = seen[np.isfinite(seen) & (seen > 1e-6 * reference[-1])]
        axis.set_ylim(seen.min() / 2, 2 * seen.max())
        axis.set(title=LABELS[network], xlabel="length of the curve", ylabel="change of the loss")
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8, frameon=False)
    hide(list(axes.flat[count:]))
    return figure


def _middle(paths: Any) -> list[float]:
    """The mean over generators."""
    return np.mean(np.array(paths, dtype=float), 0).tolist()


@experiment(
    "discovered-curves",
    shows="Figure 6.6",
    paper="Dissertation, Section 6.5.4",
    claim="Compared to the loss on curves generated by random Lie algebra elements, the loss variation along curves "
    "generated by the learned symmetries is consistently lower.",
    settings=DiscoveredCurves,
    quick={
        "networks": ("linear", "sigmoid", "three-layer", "transformer"),
        "seeds": 1,
        "published_steps": 600,
        "starts": 32,
        "curve_points": 17,
        "random": 4,
    },  # fmt: skip
    judge=judge,
    plot=plot,
)
def discovered_curves(settings: DiscoveredCurves, each: Each) -> dict[str, Any]:
    """All architectures, published and ours, over the seeds."""
    return {"runs": by_design(settings.networks, DESIGNS, settings.seeds, lambda cases: each(run, cases))}
