"""Two layers on whitened inputs, as Chapter 2 trains them: many at once, and moved at fixed function."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoloss import dependent, find, flow
from isoloss.groups import PositiveScaling
from isoloss.symmetry import Symmetries

MODULES: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
LABELS = {"identity": "linear", "relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid"}
HOMOGENEOUS = ("identity", "relu")

V, U = "0.weight", "2.weight"
"""The weights of `network`: V (h, n) into the hidden layer, U (m, h) out of it."""

BEYOND = 1e9
"""A loss that only those reach who diverge; far below where numbers overflow."""

Point = Mapping[str, Tensor]


def check_activations(names: Sequence[str]) -> None:
    """Refuse what is none of `MODULES`, before anything runs.

    Raises:
        ValueError: If there is one, or none at all.
    """
    unknown = [n for n in names if n not in MODULES]
    if unknown or not names:
        raise ValueError(
            f"reproduce: activations must be some of {', '.join(MODULES)}; got {unknown[0] if unknown else 'none'!r}; "
            f"write --set activations=\"('relu', 'tanh')\"."
        )


def network(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """The network x -> U sigma(V x), float64, for sizes (m, h, n)."""
    m, h, n = sizes
    first, second = nn.Linear(n, h, bias=False), nn.Linear(h, m, bias=False)
    return nn.Sequential(first, MODULES[activation](), second).double()


def scalings(sizes: Sequence[int]) -> Symmetries:
    """The positive scalings of the hidden neurons, of the network with ReLU; a part of GL(h) if it is linear."""
    return find(network(sizes, "relu"), torch.eye(sizes[2]).double()).only(PositiveScaling)


def normal(sizes: Sequence[int], generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Standard normal weights and a standard normal target (m, n), in this order."""
    m, h, n = sizes
    u, v, y = (torch.randn(s, generator=generator).double() for s in ((m, h), (h, n), (m, n)))
    return {V: v, U: u}, y


def stacked(points: Sequence[Point]) -> dict[str, Tensor]:
    """Points as the members of one batch."""
    return {name: torch.stack([p[name] for p in points]) for name in (V, U)}


def members(points: Point) -> list[dict[str, Tensor]]:
    """The members of a batch, one by one."""
    return [{name: points[name][i] for name in (V, U)} for i in range(len(points[U]))]


def elementwise(point: Point, activation: str) -> Tensor:
    """The conserved quantity of Eq. (2.17), one number per member; integrals begin at 0."""
    return flow.elementwise_quantity(point[U], point[V], activation).sum(-1)


def quantity(point: Point, activation: str) -> Tensor:
    """The conserved quantity of Eq. (2.17), one number per member.

    For ReLU that of the scalings, which has the same value up to the weights that its kink keeps from moving:
    half of the squares of U less half of the squares of V.
    """
    return elementwise(point, "identity" if activation in HOMOGENEOUS else activation)


def size(point: Point) -> Tensor:
    """The sum of the squares of all weights, one number per member."""
    return point[U].square().sum((-2, -1)) + point[V].square().sum((-2, -1))


def outputs(point: Point, activation: str) -> Tensor:
    """U sigma(V) for every member."""
    return point[U] @ MODULES[activation]()(point[V])


def losses(point: Point, target: Tensor, activation: str) -> Tensor:
    """The squared distance to the target, Eq. (2.50), one number per member."""
    return (outputs(point, activation) - target).square().sum((-2, -1))


def train(
    points: Point,
    target: Tensor,
    activation: str,
    rate: float,
    steps: Sequence[int],
    *,
    factors: Tensor | float = 1.0,
) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Gradient descent of all members, which do not see one another.

    A member whose loss exceeds 1e9 has diverged and stays where it is.

    Args:
        points: Stacked.
        target: Y, shared, or one for every member.
        activation: The function between.
        rate: The learning rate.
        steps: Increasing numbers of steps at which the losses are recorded.
        factors: Of the learning rate, one for every member.

    Returns:
        The last points, and the losses of every member: at the start and at all of `steps`.
    """

    def loss(p: Point) -> Tensor:
        values = losses(p, target, activation)
        return (factors * torch.where(values < BEYOND, values, BEYOND)).sum()

    here, done = dict(points), 0
    told = [losses(here, target, activation)]
    for until in steps:
        here = flow.gradient_descent(loss, here, rate, until - done, every=until - done)[-1]
        done = until
        told.append(losses(here, target, activation))
    return here, torch.stack(told, 1).tolist()


def moved(point: Point, activation: str, factor: float) -> dict[str, Tensor]:
    r"""The same outputs from other weights: V is multiplied by a factor, the element :math:`g = c\,1` of GL(h).

    U is divided by it where the activation is homogeneous. Elsewhere the data-dependent action moves U, by the
    least change that restores the outputs; as the inputs are the whole identity matrix, it leaves the loss as it is.
    """
    if activation in HOMOGENEOUS:
        return {V: factor * point[V], U: point[U] / factor}
    h, n = point[V].shape
    known = dependent.activation_of(MODULES[activation]())
    assert known is not None  # all of MODULES are known
    g, x = factor * torch.eye(h).double(), torch.eye(n).double()
    v, u = dependent.act(dependent.Difference(), g, point[V], point[U], x, known)
    return {V: v, U: u}


def with_quantity(
    point: Point, sizes: Sequence[int], symmetries: Symmetries, value: float
) -> dict[str, Tensor]:
    """The point of its orbit under scalings whose neurons share one value of the quantity, equally."""
    model = network(sizes, "relu")
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(point[name])
    bound = symmetries.bind(model)
    # `flow` counts the squares of V less those of U, for every neuron.
    flow.balance(model, bound, -2 * value / sizes[1])
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def rounds(most: int, count: int) -> list[int]:
    """About so many numbers of steps up to the most, equally spaced on a logarithmic axis."""
    spaced = torch.logspace(0, torch.log10(torch.tensor(float(most))).item(), count, dtype=torch.float64)
    return sorted({round(float(s)) for s in spaced} | {most})


def steps_to(level: float, steps: Sequence[int], history: Sequence[float | None]) -> float | None:
    """When a curve is first below a level, by linear interpolation of its logarithm; None if never."""
    at = [0, *steps]
    for i, value in enumerate(history):
        if value is None:
            return None
        if value <= level:
            if not i:
                return 0.0
            before = history[i - 1]
            assert before is not None
            part = math.log(before / level) / max(math.log(before / max(value, 1e-300)), 1e-300)
            return at[i - 1] + part * (at[i] - at[i - 1])
    return None


def rank_correlation(x: Sequence[float], y: Sequence[float | None]) -> dict[str, Any]:
    """Spearman's, with its p-value; None counts as larger than any number."""
    from scipy.stats import spearmanr

    top = 1 + max((v for v in y if v is not None), default=0.0)
    values = [top if v is None else v for v in y]
    if len(set(values)) < 2 or len(set(x)) < 2:
        return {"rho": None, "p": None}
    found: Any = spearmanr(x, values)
    return {"rho": float(found.statistic), "p": float(found.pvalue)}
