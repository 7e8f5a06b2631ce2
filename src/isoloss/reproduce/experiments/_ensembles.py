"""Figure 2.8: the accuracy of ensembles that random group elements make, against four baselines."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoloss.ensemble import Ensemble, orbit_ensemble
from isoloss.reproduce._comparison import Comparison, compare
from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._figure import canvas, curve, logarithmic, outside
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._network import FINDING
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_ensembles import (
    BASELINES,
    CONTENDERS,
    GROUP,
    WITHIN,
    Ensembles,
    ensemble,
    trained,
)

EXACT = "exact scalings"
"""The control that changes nothing: positive scalings, which LeakyReLU has exactly."""

SMALL = 0.1
"""Up to this size an element counts as near the identity: its singular values lie between 0.8 and 1.2."""

POINT = 0.01
"""A percentage point."""


@dataclass(frozen=True)
class Accuracy(Ensembles):
    """The sizes are ours, as is the distribution of M: Gaussian, with entries of variance 1 / width."""

    epsilons: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    evaluation_batch: int = 128
    """Held-out images at a time, on which Eq. (2.55) depends."""


def accuracies(settings: Accuracy, seed: int) -> dict[str, Any]:
    """One network, and for every contender and size the accuracy of the vote and of the members."""
    of = trained(settings, seed)
    y = of.data.y_validation
    with torch.no_grad():
        features = torch.cat([of.model.trunk(x) for x in of.data.x_validation.split(500)])
        alone = of.model.head(features).argmax(-1)
        told: dict[str, Any] = {"single": float((alone == y).float().mean())}
        for contender in (*CONTENDERS, EXACT):
            rows = []
            for epsilon in settings.epsilons:
                members = _members(settings, of, contender, epsilon, seed)
                rows.append(_measured(members, features, y, alone, settings.evaluation_batch))
            told[contender] = {name: [row[name] for row in rows] for name in rows[0]}
        within = ensemble(settings, of, WITHIN, 1.0, seed)
        few = [within.predict(x) for x in features.split(settings.width)]
        told["agreement"] = float((torch.cat(few) == alone).float().mean())
    return told


def _members(settings: Accuracy, of, contender: str, epsilon: float, seed: int) -> Ensemble:
    if contender != EXACT:
        return ensemble(settings, of, contender, epsilon, seed)
    generator = torch.Generator().manual_seed(seed)
    with FINDING:
        return orbit_ensemble(
            of.model.head, of.symmetries, settings.members, epsilon, form="exp", generator=generator
        )


def _measured(members: Ensemble, x: Tensor, y: Tensor, alone: Tensor, size: int) -> dict[str, float]:
    batched = x.split(size)
    vote, average = (torch.cat([members.predict(xs, by=by) for xs in batched]) for by in ("mode", "mean"))
    each = torch.cat([members.outputs(xs) for xs in batched], 1).argmax(-1)
    right = {"vote": vote == y, "mean": average == y, "member": each == y, "same": vote == alone}
    return {name: float(of.float().mean()) for name, of in right.items()}


def judge(results: dict[str, Any]) -> list[Finding]:
    """The group near the identity, and far from it against every baseline; what does not need a group."""
    runs, epsilons = results["runs"], results["epsilons"]
    near = [i for i, e in enumerate(epsilons) if e <= SMALL]
    far = [i for i, e in enumerate(epsilons) if e > SMALL]
    drops = {i: [r["single"] - r[GROUP]["vote"][i] for r in runs] for i in near}
    findings = [
        Finding(
            f"the group's ensemble keeps the accuracy for ε up to {SMALL:g} (within a percentage point)",
            all(abs(d) <= POINT for of in drops.values() for d in of) if near else None,
            "change in points "
            + ", ".join(f"{-100 * mean(of):+.2f} at ε = {epsilons[i]:g}" for i, of in drops.items())
            + f"; the model is right on {100 * mean(r['single'] for r in runs):.1f} %",
        )
    ]
    for baseline in BASELINES:
        told = [_finding_errors(runs, GROUP, baseline, [i]) for i in far]
        pooled = _finding_errors(runs, GROUP, baseline, far) if far else None
        findings.append(
            Finding(
                f"for larger ε the group's ensemble errs less than {baseline}, on average over ε",
                pooled.lower if pooled else None,
                f"{pooled}; "
                + ", ".join(
                    f"{c.ratio:.3f} times at ε = {epsilons[i]:g}" for i, c in zip(far, told, strict=True)
                ),
            )
        )
    return findings + _finding_controls(results)


def _finding_errors(runs: list[dict[str, Any]], ours: str, theirs: str, at: list[int]) -> Comparison:
    """Shares of images on which the vote errs, on average over some ε."""
    return compare(*([mean(1 - r[name]["vote"][i] for i in at) for r in runs] for name in (ours, theirs)))


def _finding_controls(results: dict[str, Any]) -> list[Finding]:
    runs, epsilons = results["runs"], results["epsilons"]
    first = {name: mean(r[name]["vote"][0] - r["single"] for r in runs) for name in BASELINES}
    agreement = min(r["agreement"] for r in runs)
    within = [mean(r[WITHIN]["vote"][i] - r[GROUP]["vote"][i] for r in runs) for i in range(len(epsilons))]
    exact = min(min(r[EXACT]["same"]) for r in runs)
    gain = [mean(r[GROUP]["vote"][i] - r[GROUP]["member"][i] for r in runs) for i in range(len(epsilons))]
    far = results["width"] ** 0.5 * np.array(epsilons)  # of 1 + ε M
    last = epsilons[-1] / 2 / (1 + epsilons[-1]) * (2 * results["width"] - 2) ** 0.5  # of p at the largest ε
    like = int(np.abs(np.log(far / last)).argmin())
    fair = compare(
        *([1 - r[name]["vote"][i] for r in runs] for name, i in ((GROUP, like), ("perm_interp", -1)))
    )
    lift = compare(
        *([1 - v for v in of] for of in ([max(r[GROUP]["vote"]) for r in runs], [r["single"] for r in runs]))
    )
    return [
        Finding(
            "at the smallest ε every baseline is the model, so that the comparison is fair",
            all(abs(d) <= POINT for d in first.values()),
            "change in points " + ", ".join(f"{name} {100 * d:+.2f}" for name, d in first.items()),
            "control",
        ),
        Finding(
            "moved as far as perm_interp at its largest ε, by the norm of g - 1, the group's ensemble errs less",
            fair.lower,
            f"norms {far[like]:.2g} at ε = {epsilons[like]:g} and {last:.2g} at ε = {epsilons[-1]:g}: {fair}",
            "control",
        ),
        Finding(
            "Eq. (2.55) on batches no larger than the width changes more than 1 % of the predictions",
            agreement < 0.99,
            f"at ε = 1 the vote agrees with the model on {100 * agreement:.2f} % of the images",
            "control",
        ),
        Finding(
            "Eq. (2.55), acting on every batch, and Eq. (2.54), with moved weights, agree within a percentage point",
            max(map(abs, within)) <= POINT,
            "the former differs by "
            + ", ".join(f"{100 * d:+.2f}" for d in within)
            + " points, from small to large ε",
            "control",
        ),
        Finding(
            "exact symmetries keep every prediction at any ε",
            exact >= 0.999,
            f"votes agree with the model on at least {100 * exact:.2f} % of the images",
            "control",
        ),
        Finding(
            "the vote makes up for what single members lose (a percentage point at some ε)",
            max(gain) > POINT,
            "vote over member in points "
            + ", ".join(f"{100 * d:+.2f}" for d in gain)
            + ", from small to large ε",
            "control",
        ),
        Finding(
            "the group's ensemble errs less than the model at its best ε",
            lift.lower,
            f"chosen on the same images, in its favour: {lift}",
            "control",
        ),
    ]


def plot(results: dict[str, Any]):
    """The changes as a table of colours, as published; the vote and the single members as curves."""
    figure, axes = canvas(1, 3, width=4.6, height=3.6)
    runs, epsilons = results["runs"], results["epsilons"]
    names = (*CONTENDERS, EXACT)
    _panel_table(figure, axes[0, 0], runs, epsilons, names)
    titles = {"vote": "vote of the members", "member": "members, one by one"}
    for axis, (how, title) in zip(axes[0, 1:], titles.items(), strict=True):
        for i, name in enumerate(names):
            style: dict[str, Any] = {"linestyle": "--"} if name in (WITHIN, EXACT) else {}
            curve(axis, epsilons, [_panel_changes(r, name, how) for r in runs], name, i, **style)
        logarithmic(axis, x=True)
        axis.axhline(0.0, color="#777777", linewidth=0.8, linestyle=":")
        axis.set(xlabel="ε", ylabel="change in accuracy (points)", title=title)
    low = min(axis.get_ylim()[0] for axis in axes[0, 1:])
    for axis in axes[0, 1:]:
        axis.set_ylim(low, 5)
    outside(axes[0, 2], axes[0, 1])
    return figure


def _panel_changes(run: dict[str, Any], name: str, how: str) -> list[float]:
    return [100 * (v - run["single"]) for v in run[name][how]]


def _panel_table(
    figure, axis, runs: list[dict[str, Any]], epsilons: list[float], names: tuple[str, ...]
) -> None:
    """Mean change of the vote over the seeds; red is worse."""
    table = np.array([np.mean([_panel_changes(r, name, "vote") for r in runs], 0) for name in names])
    end = max(np.abs(table).max(), 1.0)
    axis.imshow(table, cmap="RdBu", vmin=-end, vmax=end, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        shade = "white" if abs(value) > 0.6 * end else "black"
        axis.text(column, row, f"{value:+.1f}", ha="center", va="center", fontsize=6.5, color=shade)
    axis.grid(False)
    axis.set_xticks(range(len(epsilons)), [f"{e:g}" for e in epsilons])
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="ε", title="change in accuracy (points)")


@experiment(
    "ensembles",
    shows="Figure 2.8",
    paper="Dissertation, Section 2.9",
    claim="On CIFAR-10, the ensemble formed by group actions preserves the accuracy of the model for small ε and has a "
    "smaller accuracy drop at larger ε than four ensembles formed by random transformations.",
    settings=Accuracy,
    quick={
        "samples": 10_000,
        "held_out": 2_000,
        "channels": 8,
        "epochs": 5,
        "members": 20,
        "action_batch": 500,
        "seeds": 4,
    },
    judge=judge,
    plot=plot,
)
def ensembles(settings: Accuracy, each: Each) -> dict[str, Any]:
    """One network per seed, all contenders."""
    runs = each(accuracies, [{"seed": s} for s in range(settings.seeds)])
    return {"epsilons": list(settings.epsilons), "width": settings.width, "runs": runs}
