"""Points of small loss landscapes, in float64, and one objective of every kind there."""

import torch
from torch import nn

from isoloss.teleport import (
    Balance,
    Curvature,
    Custom,
    Distance,
    GradientNorm,
    Loss,
    Mahalanobis,
    Point,
    PredictedDecrease,
    Sharpness,
)
from networks import backward, gradients, mlp, mlp_symmetries


def landscape(cls=torch.optim.SGD, activation=nn.LeakyReLU, steps=2, widths=(5, 8, 7, 3), **options):
    """A network after a few steps of an optimizer, with gradients, and its point."""
    model = mlp(*widths, activation=activation).double()
    optimizer = cls(model.parameters(), **{"lr": 0.05, **options})
    x, y = torch.randn(16, widths[0]).double(), torch.randn(16, widths[-1]).double()
    for _ in range(steps):
        backward(model, x, y)
        optimizer.step()
    backward(model, x, y)
    names = {n: p for n, p in model.named_parameters()}
    group = optimizer.param_groups[0]
    point = Point(
        {n: p.detach() for n, p in names.items()},
        gradients(model),
        dict.fromkeys(names, group["lr"]),
        Loss(lambda: nn.functional.mse_loss(model(x), y), model),
        {n: optimizer.state[p] for n, p in names.items() if p in optimizer.state},
        dict.fromkeys(names, group),
    )
    return model, optimizer, point


def distance(point, **options):
    generator = torch.Generator().manual_seed(4)
    target = {n: torch.randn(t.shape, generator=generator).double() for n, t in point.parameters.items()}
    return Distance(target, **options)


def curvature(model, **options):
    return Curvature.of(mlp_symmetries(model), generator=torch.Generator().manual_seed(3), **options)


# One of every entry of OBJECTIVES, made for a model and its point.
MADE = {
    "gradient-norm": lambda model, point, **o: GradientNorm(**o),
    "balance": lambda model, point, **o: Balance(**o),
    "mahalanobis": lambda model, point, **o: Mahalanobis(**o),
    "predicted-decrease": lambda model, point, **o: PredictedDecrease(**o),
    "sharpness": lambda model, point, **o: Sharpness(displacements=(0.1, 0.5), directions=3, **o),
    "curvature": lambda model, point, **o: curvature(model, **o),
    "distance": lambda model, point, **o: distance(point, **o),
    "custom": lambda model, point, **o: Custom(
        lambda point, w: w["2.weight"].square().sum() + point.loss(w), **o
    ),
}
