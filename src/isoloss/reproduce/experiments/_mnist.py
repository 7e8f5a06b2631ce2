"""Figure 4.6: teleporting on MNIST, with SGD and with AdaGrad."""

from dataclasses import dataclass
from statistics import median
from typing import Any

from torch.nn.functional import cross_entropy

from isoloss.reproduce._contest import against_control, both_rates, contests, plot_contests, versus
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce._training import train
from isoloss.reproduce.experiments._shared_images import finals, optimizer, task, teleports

CONTENDERS = {
    "SGD": ("SGD", "published", "difference", "isoloss", "scalings", "random"),
    "AdaGrad": ("AdaGrad", "published", "difference", "isoloss", "scalings", "random", "reset only"),
}


@dataclass(frozen=True)
class Mnist(Settings):
    """Dissertation Section 4.6.1; validation samples come from the training set."""

    samples: int = 48_000
    held_out: int = 12_000
    hidden: tuple[int, int] = (512, 512)
    rate: float = 2e-3
    epochs: int = 80
    batch: int = 20
    teleport_at: int = 1
    teleport_rate: float = 1e-3
    minibatches: int = 4
    steps: int = 10


def classify(settings: Mnist, optimizer_name: str, contender: str, rate: float, seed: int) -> dict[str, Any]:
    """One run."""
    s = settings
    job = task("mnist", s.data, s.hidden, s.samples, s.held_out, s.batch, seed, of_training=True)
    chosen = optimizer(optimizer_name, job.model, rate)
    moves = teleports(
        contender,
        job,
        chosen,
        job.minibatches(s.minibatches, s.batch),
        paper="2022",
        steps=s.steps,
        rate=s.teleport_rate,
        reset=optimizer_name != "SGD",
    )
    history = train(
        job.model,
        chosen,
        cross_entropy,
        job.epoch,
        s.epochs,
        watch=job.watch,
        moves={s.teleport_at: moves},
    )
    return history | finals(history)


def judge(results: dict[str, Any]) -> list[Finding]:
    """SGD trains faster; the validation loss gains little, and AdaGrad's suffers."""
    findings = []
    for name, entries in results["contests"].items():
        findings += both_rates(
            entries, "published", name, f"{name}: the published teleport ends lower than without"
        )
        for ours in ("difference", "isoloss", "scalings"):
            shared, best = both_rates(entries, ours, name, f"{name}: {ours} ends lower than without")
            findings += [Finding(shared.statement, shared.holds, shared.evidence, "control"), best]
        findings.append(against_control(entries, "difference", "random"))
        findings += [
            finding_jump(entries, name, ours) for ours in ("published", "difference", "isoloss", "scalings")
        ]
        if "reset only" in entries:
            findings.append(against_control(entries, "published", "reset only"))
    sgd, adagrad = results["contests"]["SGD"], results["contests"]["AdaGrad"]
    for name, entries in (("SGD", sgd), ("AdaGrad", adagrad)):
        c = versus(entries, "published", name, "shared", "final_validation")
        lowest = versus(entries, "published", name, "shared", "lowest_validation")
        findings.append(
            Finding(
                f"{name}: the teleport does not help the validation loss",
                not c.lower if c.lower is not None else None,
                f"final validation loss: {c}; lowest: {lowest}",
            )
        )
    return findings


def finding_jump(entries: dict[str, Any], name: str, contender: str) -> Finding:
    """What the jump did to the loss on all training data, and to the objective on its batch."""
    jumps = [j for run in entries[contender]["shared"]["runs"] for j in run["jumps"]]
    changes = [j["after"]["training"] / j["before"]["training"] - 1 for j in jumps if j["after"]["training"]]
    gains = [
        j["objective_after"] / j["objective_before"] for j in jumps if j.get("objective_after") is not None
    ]
    if not changes or not gains:
        return Finding(
            f"{name}: the {contender} jump leaves the loss unchanged", False, "no finite jump", "control"
        )
    return Finding(
        f"{name}: the {contender} jump leaves the training loss unchanged (1 %)",
        max(map(abs, changes)) < 0.01,
        f"relative change of the loss on all training data at a jump: median {median(changes):+.2g}, from "
        f"{min(changes):+.2g} to {max(changes):+.2g}; squared gradient norm on its batch times {median(gains):.3g}",
        "control",
    )


def plot(results: dict[str, Any]):
    """Training losses and sweeps, and the validation losses."""
    contests = results["contests"]
    return plot_contests(contests, measure="training", label="training loss", also="validation")[0]


@experiment(
    "mnist",
    shows="Figure 4.6",
    paper="Dissertation, Section 4.6.1; Zhao et al. (2022), Figure 3",
    claim="A teleport after the first epoch on MNIST makes the training loss of SGD and AdaGrad fall faster; its "
    "effect on the validation loss is limited, and detrimental for AdaGrad.",
    settings=Mnist,
    quick={"seeds": 3, "samples": 5_000, "held_out": 2_000, "hidden": (128, 128), "epochs": 5},
    judge=judge,
    plot=plot,
)
def mnist(settings: Mnist, each: Each) -> dict[str, Any]:
    """All contenders at the published rate and at their own best."""
    rates = dict.fromkeys(CONTENDERS, settings.rate)
    return {"contests": contests(each, classify, CONTENDERS, rates, settings.seeds)}
