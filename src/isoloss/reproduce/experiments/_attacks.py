"""Figure 2.9: ensembles that random group elements make, under two adversarial attacks."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.ensemble import FGSM, PGD, Ensemble, RobustnessCurve, robustness_curve
from isoloss.reproduce._comparison import Comparison, compare
from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._figure import canvas, curve, outside
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_ensembles import (
    BASELINES,
    CONTENDERS,
    GROUP,
    WITHIN,
    Ensembles,
    Trained,
    ensemble,
    trained,
)

SINGLE = "single model"
KINDS = ("FGSM", "PGD")
POINT = 0.01
"""A percentage point."""

LEVELS = 255
"""Of a pixel; strengths are in these units."""


@dataclass(frozen=True)
class Attacks(Ensembles):
    """The strengths, the sizes and the attack's settings are ours."""

    epsilons: tuple[float, ...] = (0.3, 1.0)
    strengths: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Largest change of a pixel, in units of 1/255."""
    attacked: int = 5_000
    """Held-out images."""
    pgd_attacked: int = 1_000
    """Of these, attacked by PGD."""
    pgd_steps: int = 20
    evaluation_batch: int = 128
    """Images at a time, on which Eq. (2.55) depends."""


def curves(settings: Attacks, seed: int) -> dict[str, Any]:
    """One network, and the accuracy of every contender under both attacks at all strengths."""
    s, of = settings, trained(settings, seed)
    x, y = of.data.x_validation[: s.attacked], of.data.y_validation[: s.attacked]
    told: dict[str, Any] = {SINGLE: _attacked(s, of, None, x, y, seed), "sizes": {}}
    for epsilon in s.epsilons:
        entries = {}
        for contender in CONTENDERS:
            members = ensemble(s, of, contender, epsilon, seed)
            entries[contender] = _attacked(s, of, members, x, y, seed, contender == WITHIN)
            if contender == GROUP:
                entries[contender]["transfer"] = _transferred(s, of, members, x, y, seed)
        told["sizes"][str(epsilon)] = entries
    return told


def _attacked(
    s: Attacks, of: Trained, members: Ensemble | None, x: Tensor, y: Tensor, seed: int, within: bool = False
) -> dict[str, list[float]]:
    """Accuracies without attack and at every strength; ensembles are attacked through their mean and vote."""
    head = of.model.head if members is None else members
    model = nn.Sequential(of.model.trunk, head).eval()
    told = {}
    for kind in KINDS:
        some = slice(s.pgd_attacked if kind == "PGD" else None)
        found = robustness_curve(
            model,
            x[some],
            y[some],
            _strengths(s, of),
            _attack(s, of, kind, seed),
            predict=None if members is None else lambda z: members.predict(of.model.trunk(z)),
            together=not within,
            batch=s.evaluation_batch if within else 200,
        )
        told[kind] = _listed(found)
    return told


def _transferred(s: Attacks, of: Trained, members: Ensemble, x: Tensor, y: Tensor, seed: int) -> list[float]:
    """The vote on images that were made to fool the single model, by FGSM."""
    found = robustness_curve(
        of.model,
        x,
        y,
        _strengths(s, of),
        _attack(s, of, "FGSM", seed),
        predict=lambda z: members.predict(of.model.trunk(z)),
        together=False,
        batch=s.evaluation_batch,
    )
    return _listed(found)


def _strengths(s: Attacks, of: Trained) -> list[float]:
    return [of.contrast * strength / LEVELS for strength in s.strengths]


def _attack(s: Attacks, of: Trained, kind: str, seed: int) -> FGSM | PGD:
    if kind == "FGSM":
        return FGSM(valid=of.valid)
    return PGD(valid=of.valid, steps=s.pgd_steps, generator=torch.Generator().manual_seed(seed))


def _listed(found: RobustnessCurve) -> list[float]:
    return [found.clean, *found.accuracy]


def judge(results: dict[str, Any]) -> list[Finding]:
    """Under FGSM better than the model and than every baseline; under PGD not; then attacks made for the model."""
    runs, findings = results["runs"], []
    for size in runs[0]["sizes"]:

        def under(name: str, kind: str, size: str = size) -> list[list[float]]:
            return [r[SINGLE][kind] if name == SINGLE else r["sizes"][size][name][kind] for r in runs]

        ours = under(GROUP, "FGSM")
        findings += [
            _finding_better(
                f"FGSM, ε = {size}: the group's ensemble is more robust than {name}",
                ours,
                under(name, "FGSM"),
            )
            for name in (SINGLE, *BASELINES)
        ]
        change = [
            _finding_mean(a) - _finding_mean(b)
            for a, b in zip(under(GROUP, "PGD"), under(SINGLE, "PGD"), strict=True)
        ]
        findings.append(
            Finding(
                f"PGD, ε = {size}: the group's ensemble has no effect (within a percentage point)",
                abs(mean(change)) <= POINT,
                f"accuracy {100 * mean(change):+.2f} points, on average over the strengths "
                f"({100 * min(change):+.2f} to {100 * max(change):+.2f})",
            )
        )
        left = [
            _finding_left(ours, under(SINGLE, "FGSM")),
            _finding_left(under(GROUP, "PGD"), under(SINGLE, "PGD")),
        ]
        contrast = compare(*left)
        findings.append(
            Finding(
                f"ε = {size}: the group's ensemble gains more under FGSM than under PGD",
                contrast.lower,
                f"errors {mean(left[0]):.4f} times the single model's under FGSM, {mean(left[1]):.4f} times under PGD; "
                f"ratio {contrast}",
            )
        )
        transfer = [r["sizes"][size][GROUP]["transfer"] for r in runs]
        findings += [
            _finding_better(
                f"ε = {size}: the group's ensemble resists attacks made for the single model",
                transfer,
                under(SINGLE, "FGSM"),
                "control",
            ),
            _finding_better(
                f"FGSM, ε = {size}: acting within the activation (Eq. 2.55) is more robust than {SINGLE}",
                under(WITHIN, "FGSM"),
                under(SINGLE, "FGSM"),
                "control",
            ),
        ]
    return findings


def _finding_mean(accuracies: list[float]) -> float:
    """Over the strengths; the first number is without attack."""
    return mean(accuracies[1:])


def _finding_left(ours: list[list[float]], theirs: list[list[float]]) -> list[float]:
    """Errors against theirs, seed by seed."""
    return [(1 - _finding_mean(a)) / (1 - _finding_mean(b)) for a, b in zip(ours, theirs, strict=True)]


def _finding_better(
    said: str, ours: list[list[float]], theirs: list[list[float]], kind: Any = "paper"
) -> Finding:
    """By the errors, on average over the strengths, seed by seed."""
    found: Comparison = compare(*([1 - _finding_mean(of) for of in runs] for runs in (ours, theirs)))
    points = mean(_finding_mean(a) - _finding_mean(b) for a, b in zip(ours, theirs, strict=True))
    clean = mean(a[0] - b[0] for a, b in zip(ours, theirs, strict=True))
    return Finding(
        said,
        found.lower,
        f"errors {found}; accuracy {100 * points:+.2f} points under attack, {100 * clean:+.2f} without",
        kind,
    )


def plot(results: dict[str, Any]):
    """A row per size: the accuracy under FGSM, and for both attacks the difference to the single model."""
    runs, strengths = results["runs"], [0.0, *results["strengths"]]
    sizes = list(runs[0]["sizes"])
    figure, axes = canvas(len(sizes), 3, height=3.1)
    for row, size in zip(axes, sizes, strict=True):
        curve(row[0], strengths, [r[SINGLE]["FGSM"] for r in runs], SINGLE, 0, color="black")
        for i, name in enumerate(CONTENDERS):
            style: dict[str, Any] = {"linestyle": "--"} if name == WITHIN else {}
            curve(row[0], strengths, [r["sizes"][size][name]["FGSM"] for r in runs], name, i, **style)
        curve(
            row[0],
            strengths,
            [r["sizes"][size][GROUP]["transfer"] for r in runs],
            "transfer",
            0,
            linestyle=":",
        )
        row[0].set(xlabel="strength (1/255)", ylabel="accuracy", title=f"FGSM, ε = {size}")
        row[0].set_ylim(bottom=0)
        for axis, kind in zip(row[1:], KINDS, strict=True):
            _panel_differences(axis, runs, size, kind, strengths)
        low = max(-25.0, min(axis.get_ylim()[0] for axis in row[1:]))
        high = max(axis.get_ylim()[1] for axis in row[1:])
        for axis in row[1:]:
            axis.set_ylim(low, high)
        outside(row[2], row[0], {"transfer": "group, attack made\nfor the single model"})
    return figure


def _panel_differences(
    axis, runs: list[dict[str, Any]], size: str, kind: str, strengths: list[float]
) -> None:
    """Every contender against the single model; 'shuffle', far below, is left out."""

    def differences(name: str, measure: str) -> list[list[float]]:
        pairs = [(r["sizes"][size][name][measure], r[SINGLE][kind]) for r in runs]
        return [[100 * (a - b) for a, b in zip(ours, theirs, strict=True)] for ours, theirs in pairs]

    for i, name in enumerate(CONTENDERS):
        if name != "shuffle":
            style: dict[str, Any] = {"linestyle": "--"} if name == WITHIN else {}
            curve(axis, strengths, differences(name, kind), name, i, **style)
    if kind == "FGSM":
        curve(axis, strengths, differences(GROUP, "transfer"), "transfer", 0, linestyle=":")
    axis.axhline(0.0, color="black", linewidth=0.8)
    axis.set(
        xlabel="strength (1/255)", ylabel="accuracy - single model (points)", title=f"{kind}, ε = {size}"
    )


@experiment(
    "attacks",
    shows="Figure 2.9",
    paper="Dissertation, Section 2.9",
    claim="Under FGSM attacks of various strengths the ensemble formed by group actions is more robust than the "
    "single model, and consistently better than the baselines with random transformations; under PGD it has "
    "negligible effects.",
    settings=Attacks,
    quick={
        "samples": 5_000,
        "held_out": 400,
        "channels": 8,
        "epochs": 5,
        "members": 20,
        "action_batch": 500,
        "strengths": (1.0, 2.0, 4.0),
        "attacked": 400,
        "pgd_attacked": 160,
        "pgd_steps": 6,
        "seeds": 4,
    },
    judge=judge,
    plot=plot,
)
def attacks(settings: Attacks, each: Each) -> dict[str, Any]:
    """One network per seed, all contenders at every size."""
    runs = each(curves, [{"seed": s} for s in range(settings.seeds)])
    return {"strengths": list(settings.strengths), "runs": runs}
