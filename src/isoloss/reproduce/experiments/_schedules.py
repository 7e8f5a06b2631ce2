"""Figure 4.8: when to teleport on MNIST, how often, and with how many minibatches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.nn.functional import cross_entropy

from isoloss.reproduce._comparison import compare
from isoloss.reproduce._contest import contest, plot_contests, versus
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce._training import train
from isoloss.reproduce.experiments._shared_images import finals, optimizer, task, teleports


@dataclass(frozen=True)
class Schedules(Settings):
    """Dissertation Section 4.6.3. Which epochs and numbers the figure's legends list cannot be read off the text."""

    samples: int = 48_000
    held_out: int = 12_000
    hidden: tuple[int, int] = (512, 512)
    rate: float = 2e-3
    epochs: int = 80
    batch: int = 20
    form: str = "published"
    """How to teleport: "published"; "difference" does nothing at the identity, and "isoloss" is the library's."""
    teleport_rate: float = 1e-3
    steps: int = 10
    minibatches: int = 4
    once_at: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    """(a): the epoch of the only teleport."""
    intervals: tuple[int, ...] = (0, 1, 2, 4, 8)
    """(b): epochs between the teleports, one per minibatch, the first after epoch 1; 0 for all at once."""
    numbers: tuple[int, ...] = (1, 2, 4, 8, 16)
    """(c): minibatches to teleport with after the first epoch."""


def plans(settings: Schedules) -> dict[str, dict[str, dict[int, int]]]:
    """For each panel its contenders: how many minibatches to teleport with before which epoch."""
    s = settings
    return {
        "a": {f"epoch {e}": {e: s.minibatches} for e in s.once_at},
        "b": {f"every {i}" if i else "all at once": _spread(i, s.minibatches) for i in s.intervals},
        "c": {f"{n} minibatch{'es' if n > 1 else ''}": {1: n} for n in s.numbers},
    }


def _spread(interval: int, number: int) -> dict[int, int]:
    return {1 + interval * i: 1 for i in range(number)} if interval else {1: number}


def classify(settings: Schedules, panel: str, contender: str, rate: float, seed: int) -> dict[str, Any]:
    """One run."""
    s = settings
    job = task("mnist", s.data, s.hidden, s.samples, s.held_out, s.batch, seed, of_training=True)
    chosen = optimizer("SGD", job.model, rate)
    plan = plans(s)[panel].get(contender, {})
    minibatches = job.minibatches(sum(plan.values()), s.batch)
    moves = teleports(
        s.form, job, chosen, minibatches, paper="2022", steps=s.steps, rate=s.teleport_rate, reset=False
    )
    planned = {epoch: [moves.pop(0) for _ in range(number)] for epoch, number in plan.items()}
    history = train(job.model, chosen, cross_entropy, job.epoch, s.epochs, watch=job.watch, moves=planned)
    return history | finals(history)


def judge(results: dict[str, Any]) -> list[Finding]:
    """Before training is worst, earlier is stronger, closer together is faster, more minibatches lower the loss."""
    a, b, c = (results["contests"][panel] for panel in "abc")
    findings = []
    for at in ("shared", "best"):
        kind = "paper" if at == "shared" else "control"
        said = "" if at == "shared" else ", each at its own best learning rate"
        order = [name for name in a if name.startswith("epoch")]
        rest = [name for name in order[1:] if versus(a, order[0], name, at).higher]
        findings.append(
            Finding(
                f"(a) a teleport before training is worse than any later one{said}",
                _all_or_none(len(rest), len(order) - 1),
                f"{order[0]} ends higher than {', '.join(rest) or 'none'}; {_finals(a, at)}",
                kind,
            )
        )
        findings += [
            _monotone(
                a, order[1:], f"(a) the earlier the teleport, the lower the final loss{said}", at, kind
            ),
            _monotone(
                b,
                [n for n in b if n != "none"],
                f"(b) the closer the teleports, the lower the loss{said}",
                at,
                kind,
            ),
            _monotone(
                c,
                [n for n in reversed(c) if n != "none"],
                f"(c) the more minibatches, the lower the loss{said}",
                at,
                kind,
            ),
        ]
    for panel, entries in results["contests"].items():
        ours = [name for name in entries if name != "none"]
        best = min(ours, key=lambda name: versus(entries, name, "none", "best").ratio)
        found = versus(entries, best, "none", "best")
        findings.append(
            Finding(
                f"({panel}) the best schedule ends lower than no teleport, each at its own best learning rate",
                found.lower,
                f"{best}: {found}",
                "control",
            )
        )
    more, fewer = (n for n in (list(c)[-1], list(c)[1]))
    findings.append(_finding_gaps(c, more, fewer))
    return findings


def _finding_gaps(entries: Mapping[str, Any], more: str, fewer: str) -> Finding:
    """By the ratio of the validation to the training loss; to diverge is not to overfit."""
    runs = zip(*(entries[name]["shared"]["runs"] for name in (more, fewer)), strict=True)
    pairs = [(a, b) for a, b in runs if a["final"] is not None and b["final"] is not None]
    said = "(c) more minibatches overfit more"
    if not pairs:
        return Finding(said, None, f"no seed in which neither {more} nor {fewer} diverged")
    gap = compare(*([r["final_validation"] / r["final"] for r in of] for of in zip(*pairs, strict=True)))
    return Finding(said, gap.higher, f"validation over training loss, {more} against {fewer}: {gap}")


def _finals(entries: Mapping[str, Any], at: str) -> str:
    def mean(name: str) -> str:
        finals = [run["final"] for run in entries[name][at]["runs"]]
        return "diverged" if None in finals else f"{sum(finals) / len(finals):.3g}"

    return "final training loss " + ", ".join(f"{name} {mean(name)}" for name in entries)


def _all_or_none(found: int, of: int) -> bool | None:
    return True if found == of else False if found == 0 else None


def _monotone(entries: Mapping[str, Any], order: list[str], statement: str, at: str, kind: Any) -> Finding:
    """Does the first end lower than the last, and no neighbour contradict?"""
    ends = versus(entries, order[0], order[-1], at)
    against = [
        f"{x} > {y}" for x, y in zip(order[:-1], order[1:], strict=True) if versus(entries, x, y, at).higher
    ]
    holds = None if ends.lower is None else ends.lower and not against
    said = f"; against it: {', '.join(against)}" if against else ""
    return Finding(
        statement, holds, f"{order[0]} against {order[-1]}: {ends}{said}; {_finals(entries, at)}", kind
    )


def plot(results: dict[str, Any]):
    """A row per panel of the figure."""
    contests = {f"({panel})": entries for panel, entries in results["contests"].items()}
    return plot_contests(contests, measure="training", label="training loss", also="validation")[0]


@experiment(
    "schedules",
    shows="Figure 4.8",
    paper="Dissertation, Section 4.6.3; Zhao et al. (2022), Figure 5",
    claim="(a) A teleport before training is worst; after that, earlier is stronger. (b) Teleports closer together "
    "accelerate more. (c) More minibatches lower the training loss faster, and overfit more.",
    settings=Schedules,
    quick={
        "seeds": 3,
        "samples": 4_000,
        "held_out": 2_000,
        "hidden": (64, 64),
        "epochs": 8,
        "once_at": (0, 1, 2, 4),
        "intervals": (0, 1, 2),
        "numbers": (1, 2, 4, 8),
    },
    judge=judge,
    plot=plot,
)
def schedules(settings: Schedules, each: Each) -> dict[str, Any]:
    """Every schedule, and none."""
    return {
        "contests": {
            panel: contest(
                each, classify, ("none", *of), seeds=settings.seeds, rate=settings.rate, panel=panel
            )
            for panel, of in plans(settings).items()
        }
    }
