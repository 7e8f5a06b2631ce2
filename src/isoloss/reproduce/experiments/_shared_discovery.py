"""How the experiments of Chapter 6 learn symmetries, as published and our way, and what they measure of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from isoloss.discovery import Discovery, Recipe, discover
from isoloss.discovery._curve import flow_curve, map_curve
from isoloss.reproduce._experiment import Settings
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Run
from isoloss.reproduce.experiments._shared_architectures import ARCHITECTURES, Architecture

LENGTH = 0.5
"""Least length of a direction, as a part of β, that keeps it."""
HELD_OUT = 5_000_011
"""Added to the seed of the points to measure at."""


@dataclass(frozen=True)
class Design:
    """How a symmetry is learned.

    Attributes:
        action: By name.
        published: Whether with the objective of Eq. (6.3), by the settings of the text.
        changes: Fields of the recipe.
        options: Of the action.
    """

    action: str
    published: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, architecture: Architecture, settings: "Discovered", seed: int) -> Recipe:
        """The recipe, with as many steps as the settings say."""
        if self.published:
            fresh = {"samples": None} if architecture.fresh else {}
            told = {"steps": settings.published_steps, "seed": seed, **fresh, **self.changes}
            recipe = Recipe.published(architecture.dependent, **told)
        else:
            recipe = Recipe(seed=seed, **self.changes)
            recipe = replace(recipe, steps=max(1, round(settings.budget * recipe.steps)))
        return replace(recipe, validate=min(recipe.validate, recipe.steps))


OURS: Mapping[str, Design] = {
    "scalar": Design("linear"),
    "linear": Design("linear"),
    "relu": Design("linear"),
    "attention": Design("linear"),
    "sigmoid": Design("anchored"),
    "tanh": Design("anchored"),
    "three-layer": Design("anchored"),
    "skip": Design("anchored", changes={"steps": 4000}),
    "transformer": Design("residual"),
}
"""The setting of "ours" for every architecture."""

DESIGNS: Mapping[str, Design] = {
    "published": Design("mlp", published=True),
    "published, linear": Design("linear", published=True),
    "residual": Design("residual"),
    "anchored": Design("anchored"),
    "linear": Design("linear"),
    "untrained": Design("mlp", published=True, changes={"steps": 1}),
}
"""The others, for all architectures alike; "ours" is looked up in `OURS`."""


@dataclass(frozen=True)
class Discovered(Settings):
    """Dissertation Section 6.5. What the text does not say (passes, batch, weight of associativity) is in `Recipe`."""

    published_steps: int = 2000
    """Of the published recipe."""
    budget: float = 1.0
    """Part of the steps of ours."""
    points: int = 256
    """Held-out parameters, with their data, at which directions are measured."""


def learn(settings: Discovered, network: str, design: str, seed: int) -> tuple[Discovery, Run]:
    """Learn a symmetry, and tell its grade, generators and time."""
    architecture = ARCHITECTURES[network]
    chosen = OURS[network] if design == "ours" else DESIGNS[design]
    since = time.perf_counter(), time.process_time()
    found = discover(
        architecture.value,
        architecture.sample_params,
        architecture.sample_data,
        architecture.generators,
        action=chosen.action,
        recipe=chosen.recipe(architecture, settings, seed),
        options=chosen.options,
    )
    told = {
        "seconds": time.perf_counter() - since[0],
        "processor_seconds": time.process_time() - since[1],
        "action": chosen.action,
        "steps": found.history[-1].step,
        "found": found.found,
        "reason": found.reason,
        "grade": asdict(found.grade),
        "generators": found.generators.tolist(),
        "cosines": cosines(found.generators).tolist(),
        "history": [[r.step, r.invariance] for r in found.history],
        "composition": composition(found, *architecture.drawn(settings.points, seed + HELD_OUT)),
    }
    return found, told


def by_design(
    networks: Sequence[str], designs: Sequence[str], seeds: int, runs: Callable[[list[dict]], list[Run]]
) -> dict[str, dict[str, list[Run]]]:
    """Runs of all networks and designs over the seeds, by network and design."""
    cases = [{"network": n, "design": d, "seed": s} for n in networks for d in designs for s in range(seeds)]
    told: dict[str, dict[str, list[Run]]] = {n: {d: [] for d in designs} for n in networks}
    for case, run in zip(cases, runs(cases), strict=True):
        told[case["network"]][case["design"]].append(run)
    return told


def cosines(generators: Tensor) -> Tensor:
    """Cosines between pairs of generators, with their signs."""
    unit = torch.nn.functional.normalize(generators.flatten(1), dim=1)
    i, j = torch.triu_indices(len(unit), len(unit), 1)
    return (unit @ unit.mT)[i, j]


@torch.no_grad()
def composition(found: Discovery, params: Any, data: Any) -> float:
    r"""How far the map is from a group action, for two of the elements :math:`g_i = \exp(h_i)`.

    The median over samples of :math:`\|a(g_2, a(g_1, \theta)) - a(g_2 g_1, \theta)\|` over the length of the two moves.
    The elements are those of the first and the second generator, or twice that of the only one.
    """
    elements = found.elements()
    first, second = elements[0], elements[1 % len(elements)]
    theta, x = found.params.flat(params), found.data.flat(data)
    once = found.action(first, theta, x)
    both = found.action(second @ first, theta, x)
    twice = found.action(second, once, x)
    moved = (once - theta).norm(dim=1) + (twice - once).norm(dim=1)
    return float(((twice - both).norm(dim=1) / moved.clamp_min(1e-12)).median())


# --- Directions ---


def units(directions: Tensor) -> Tensor:
    """At length one, (n, k, p)."""
    return torch.nn.functional.normalize(directions, dim=-1)


def shares(directions: Tensor, span: Tensor) -> Tensor:
    """The part of the squared length of each direction (n, k, p) that lies in a span (n, r, p): (n, k)."""
    u, s, _ = torch.linalg.svd(span.mT, full_matrices=False)
    u = u * (s > 1e-9 * s[:, :1])[:, None]
    return (units(directions) @ u).square().sum(-1)


def layer_shares(architecture: Architecture, directions: Tensor) -> Tensor:
    """The part of the squared length that moves each parameter tensor, averaged over samples: (k, layers)."""
    sizes = [torch.Size(s).numel() for s in architecture.params.values()]
    parts = [part.square().sum(-1).mean(0) for part in units(directions).split(sizes, -1)]
    return torch.stack(parts, -1)


# --- Curves ---


def curves(settings: Any, network: str, found: Discovery, seed: int) -> dict[str, Any]:
    """How the loss moves along curves of one length: learned ones, and random ones.

    Returns:
        `t` (points,), lengths; by kind of curve the mean over starting points of the largest change of the loss so far:
        "flow", "map" (k, points), "random" (linear generators), "random elements" (of the learned action), (points,).
    """
    architecture = ARCHITECTURES[network]
    theta, x = architecture.drawn(settings.starts, seed + HELD_OUT)
    loss, flat, data = found.losses(), found.params.flat(theta), found.data.flat(x)
    k, m, p = len(found.generators), found.action.size, found.params.size
    generator = torch.Generator().manual_seed(seed)

    def change(path: Tensor) -> Tensor:
        values = torch.stack([loss(here, data) for here in path])
        return (values - values[0]).abs().cummax(0).values.mean((1, 2))

    def flows() -> Tensor:
        h = torch.randn(len(flat), p, p, generator=generator, dtype=torch.float64)
        return flow_curve(
            lambda t: torch.einsum("nij,nj->ni", h, t), flat, settings.length, settings.curve_points
        )

    def elements() -> Tensor:
        # As long as the learned generators: what the perceptron was trained on.
        h = torch.randn(m, m, generator=generator, dtype=torch.float64)
        h = h * (found.generators.flatten(1).norm(dim=1).mean() / h.norm())
        return map_curve(
            lambda t: found.action(torch.linalg.matrix_exp(t * h), flat, data),
            flat,
            settings.length,
            settings.curve_points,
        )

    def learned(form: Any) -> list[list[float]]:
        paths = (
            found.curve(c, theta, x, settings.length, settings.curve_points, form)
            for c in torch.eye(k, dtype=torch.float64)
        )
        return [change(path).tolist() for path in paths]

    with torch.no_grad():
        return {
            "t": torch.linspace(0, settings.length, settings.curve_points).tolist(),
            "flow": learned("flow"),
            "map": learned("map"),
            "random": torch.stack([change(flows()) for _ in range(settings.random)]).mean(0).tolist(),
            "random elements": torch.stack([change(elements()) for _ in range(settings.random)])
            .mean(0)
            .tolist(),
        }


# --- Words ---


def worst(runs: Sequence[Run]) -> list[float]:
    """For each seed the slope along the worst direction, relative to random ones."""
    return [max(_number(v) for v in run["grade"]["invariance"]) for run in runs]


def judge_length(runs: Sequence[Run], design: str) -> Finding:
    """Do the directions have the length that the objective asks for? A short one lowers the published invariance."""
    shortest = [min(r["grade"]["norms"]) for r in runs]
    return Finding(
        f"{design}: the directions keep the length β that the objective asks for",
        min(shortest) >= LENGTH,
        f"median lengths {told(shortest)} of β; the slope that the published objective sums falls with the length, its "
        f"relative size {told(worst(runs))} does not",
        "control",
    )


def told(values: Sequence[float], form: str = ".2g") -> str:
    """Numbers of the seeds in a row: "0.1, 0.12"; one number if they are all the same."""
    texts = [f"{v:{form}}" for v in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _number(value: float | None) -> float:
    """JSON has no infinity."""
    return float("inf") if value is None else value
