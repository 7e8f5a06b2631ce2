"""Figures 5.10 and 5.11: four optimizers with and without teleports on MNIST, by epochs and by time."""

from dataclasses import dataclass
from statistics import median
from typing import Any

from torch.nn.functional import cross_entropy

from isoloss.reproduce._comparison import compare
from isoloss.reproduce._contest import against_control, both_rates, contest, plot_contests, versus
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import curve, frame_losses
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce._training import train
from isoloss.reproduce.experiments._mnist import finding_jump
from isoloss.reproduce.experiments._shared_images import finals, optimizer, task, teleports

TELEPORTED = ("published", "difference", "isoloss", "scalings")
EARLY = 10
"""Epochs in which the paper sees an improvement of momentum, RMSProp and Adam."""


@dataclass(frozen=True)
class Optimizers(Settings):
    """Dissertation Section 5.4.2, with the learning rates of the published code.

    The text gives 1e-4 for AdaGrad and 5e-2 for the others, which in the code are the rates of the teleports.
    """

    samples: int = 50_000
    held_out: int = 10_000
    hidden: tuple[int, int] = (16, 10)
    epochs: int = 40
    batch: int = 20
    minibatches: int = 8
    minibatch: int = 200
    steps: int = 10
    momentum_rate: float = 1e-3
    adagrad_rate: float = 1e-2
    rmsprop_rate: float = 1e-4
    adam_rate: float = 1e-4
    teleport_rate: float = 5e-2
    adagrad_teleport_rate: float = 1e-4
    teleport_at: int = 0
    adagrad_teleport_at: int = 2
    """The text says once, at the first epoch; the code teleports AdaGrad at epoch 2."""

    def rates(self) -> dict[str, float]:
        """The learning rate of every optimizer."""
        return {
            "momentum": self.momentum_rate,
            "AdaGrad": self.adagrad_rate,
            "RMSProp": self.rmsprop_rate,
            "Adam": self.adam_rate,
        }


def classify(
    settings: Optimizers, optimizer_name: str, contender: str, rate: float, seed: int
) -> dict[str, Any]:
    """One run."""
    s, adagrad = settings, optimizer_name == "AdaGrad"
    job = task("mnist", s.data, s.hidden, s.samples, s.held_out, s.batch, seed)
    chosen = optimizer(optimizer_name, job.model, rate)
    moves = teleports(
        contender,
        job,
        chosen,
        job.minibatches(s.minibatches, s.minibatch),
        paper="2024",
        steps=s.steps,
        rate=s.adagrad_teleport_rate if adagrad else s.teleport_rate,
        reset=True,
    )
    at = s.adagrad_teleport_at if adagrad else s.teleport_at
    history = train(job.model, chosen, cross_entropy, job.epoch, s.epochs, watch=job.watch, moves={at: moves})
    told = finals(history)
    early = None if told["final"] is None else history["validation"][: EARLY + 1][-1]
    return history | told | {"early_validation": early}


def judge(results: dict[str, Any]) -> list[Finding]:
    """AdaGrad converges better, the others early on, at almost no time; beside resets, and at tuned rates."""
    findings = []
    for name, entries in results["contests"].items():
        measure = "final_validation" if name == "AdaGrad" else "early_validation"
        when = "" if name == "AdaGrad" else f" after {EARLY} epochs at most"
        findings += both_rates(
            entries,
            "published",
            name,
            f"{name}: the teleport lowers the test loss{when}",
            measure=measure,
            what="test loss",
        )
        findings.append(_finding_stable(entries, name))
        findings.append(_finding_cost(entries, name, results["shortened"]))
        for ours in TELEPORTED[1:]:
            for at in ("shared", "best"):
                c = versus(entries, ours, name, at, measure)
                findings.append(
                    Finding(
                        f"{name}: {ours} lowers the test loss, at the {at} rate", c.lower, f"{c}", "control"
                    )
                )
        if "reset only" in entries:
            findings.append(
                against_control(
                    entries, "published", "reset only", measure="final_validation", what="test loss"
                )
            )
            c = versus(entries, "reset only", name, "shared", "final_validation")
            findings.append(
                Finding(f"{name}: the reset alone lowers the test loss", c.lower, str(c), "control")
            )
        findings.append(
            against_control(entries, "difference", "random", measure="final_validation", what="test loss")
        )
        findings += [finding_jump(entries, name, ours) for ours in TELEPORTED]
    return findings


def _finding_stable(entries: dict[str, Any], name: str) -> Finding:
    """In how many seeds does training bear the published ascent, which has no bound, at the paper's rate?"""
    runs = entries["published"]["shared"]["runs"]
    losses = [j["after"]["training"] for run in runs for j in run["jumps"]]
    start = runs[0]["jumps"][0]["before"]["training"]
    worst = "not finite" if None in losses else f"at worst {max(losses) / start:.3g} times that before"
    gains = [_finding_gain(run["jumps"]) for run in runs]
    known = [f"{g:.3g}" for g in gains if g is not None] + ["not finite"] * gains.count(None)
    diverged = sum(run["final"] is None for run in runs)
    return Finding(
        f"{name}: training bears the published teleports, at the paper's rate, in every seed",
        not diverged,
        f"it diverges in {diverged} of {len(runs)} seeds; the training loss after a teleport is {worst}, the squared "
        f"gradient norm after all of them, on their batches, {', '.join(known)} times",
        "control",
    )


def _finding_gain(jumps: list[dict[str, Any]]) -> float | None:
    after = jumps[-1]["objective_after"]
    return None if after is None else after / jumps[0]["objective_before"]


def _finding_cost(entries: dict[str, Any], name: str, shortened: float) -> Finding:
    """Against an epoch of the paper's length: a reduced one is shorter by that factor."""
    runs = [run for run in entries["published"]["shared"]["runs"] if len(run["seconds"]) > 1]
    moves = [run["move_seconds"] for run in runs]
    epochs = [
        shortened * (run["seconds"][-1] - run["move_seconds"]) / (len(run["seconds"]) - 1) for run in runs
    ]
    if not runs:
        return Finding(f"{name}: the teleport takes less time than an epoch", None, "every run diverged")
    c = compare(moves, epochs)
    return Finding(
        f"{name}: the teleport takes less time than an epoch",
        c.lower,
        f"{median(moves):.2f} s against {median(epochs):.2f} s for the paper's number of samples, {c}",
    )


def plot(results: dict[str, Any]):
    """Test losses by epoch (5.10), sweeps, and by time (5.11)."""
    contests = results["contests"]
    figure, axes = plot_contests(contests, measure="validation", label="test loss", also="validation")
    for row, (name, entries) in zip(axes, contests.items(), strict=True):
        axis = row[3]
        for artist in (*axis.lines, *axis.collections):
            artist.remove()
        for i, (contender, entry) in enumerate(entries.items()):
            runs = entry["shared"]["runs"]
            seconds = [sum(t) / len(t) for t in zip(*(run["seconds"] for run in runs), strict=False)]
            curve(axis, seconds, [run["validation"] for run in runs], contender, i)
        axis.relim()
        axis.autoscale(axis="x")
        frame_losses(
            axis, [run["validation"] for entry in entries.values() for run in entry["shared"]["runs"]]
        )
        axis.set(xlabel="seconds of training and teleports", ylabel="test loss", title=f"{name}: by time")
    return figure


@experiment(
    "optimizers",
    shows="Figures 5.10 and 5.11",
    paper="Dissertation, Section 5.4.2; Zhao et al. (2024), Appendix",
    claim="A teleport in the first epochs improves the convergence of AdaGrad on MNIST; with momentum, RMSProp and "
    "Adam there is an improvement in the first 10 epochs only. It takes less time than one epoch.",
    settings=Optimizers,
    quick={"seeds": 3, "samples": 5_000, "held_out": 2_000, "epochs": 5},
    judge=judge,
    plot=plot,
)
def optimizers(settings: Optimizers, each: Each) -> dict[str, Any]:
    """Four optimizers, every contender at the shared rate and at its own best."""
    told = {}
    for name, rate in settings.rates().items():
        # At the start there is no state to forget.
        at = settings.adagrad_teleport_at if name == "AdaGrad" else settings.teleport_at
        contenders = (name, *TELEPORTED, "random", *(["reset only"] if at else []))
        told[name] = contest(each, classify, contenders, seeds=settings.seeds, rate=rate, optimizer_name=name)
    return {"contests": told, "shortened": Optimizers().samples / settings.samples}
