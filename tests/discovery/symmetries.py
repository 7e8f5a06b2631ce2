"""Actions of groups that are symmetries, as a user would write them, and one that is none."""

import torch
from torch import Tensor

from isoloss.discovery import normal
from isoloss.discovery.actions import Action


def sigmoid(w: dict[str, Tensor], data: dict[str, Tensor]) -> Tensor:
    """One neuron, one data point: no symmetry but a data-dependent one."""
    return (w["b"] * torch.sigmoid(w["a"] * data["x"]) - data["y"]).square()


SIGMOID = sigmoid, normal(a=(), b=()), normal(x=(), y=())


class Compensate(Action):
    r"""The group of positive numbers: :math:`(a, b) \mapsto (g a, b\, \sigma(a x) / \sigma(g a x))`, x known."""

    reads_data = True

    def __init__(self, params: int, data: int):
        super().__init__(params, data)
        self.size = 1

    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        (a, b), factor = theta.unbind(-1), g.reshape(-1)
        after = factor * a
        ratio = torch.sigmoid(a * x[:, 0]) / torch.sigmoid(after * x[:, 0])
        return torch.stack([after, b * ratio], -1)


class Forgetful(Compensate):
    """With the data of nobody: no symmetry."""

    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        return super().forward(g, theta, torch.ones_like(x))
