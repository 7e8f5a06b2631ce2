"""Results of a trial, made up."""

from dataclasses import asdict

from isoloss.learn import Design, Recipe


def run(losses, steps=(0, 10, 100), rate=None, jumps=(), gains=(), changes=(), sizes=()):
    """A contender with these losses (tasks, points)."""
    return {
        "rate": rate,
        "mean_rate": 0.1,
        "steps": list(steps),
        "losses": losses,
        "jumps": list(jumps),
        "gains": list(gains),
        "changes": list(changes),
        "sizes": list(sizes),
    }


def results(contenders, horizon=10, variant=("update", "tele"), history=(), validation=None, untrained=False):
    """What results.json would hold of them."""
    learned = contenders["learned"]
    return {
        "task": "booth",
        "design": asdict(Design(variant=variant)),
        "recipe": asdict(Recipe(horizon=horizon)),
        "test": {"tasks": len(learned["losses"]), "steps": learned["steps"][-1]},
        "history": list(history),
        "validation": validation,
        "untrained": untrained,
        "contenders": contenders,
    }
