"""The action on two adjacent layers, in matrices, as the dissertation writes it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from isoloss.catalogue._problem import Tensors
from isoloss.groups import Group


def matrix(group: Group, g: Tensor, charge: float = 1) -> Tensor:
    """The matrix of g, shape (*batch, n, n), in the representation that the charge names."""
    batch = g.shape[: g.dim() - len(group.element_shape)]
    eye = torch.eye(group.n, dtype=torch.float64).expand(*batch, group.n, group.n)
    return group.act(g, eye, charge).mT


def adjacent(
    group: Group, alpha: float = 1, first: str = "0", second: str = "2"
) -> Callable[[Tensor, Tensors], Tensors]:
    r"""The action :math:`g \cdot (W_2, W_1, b_2, b_1) = (W_2 \rho(g)^{-1}, g W_1, b_2, g b_1)`.

    Args:
        group: The group on the hidden units.
        alpha: The charge of :math:`\rho`: the degree of a homogeneous activation.
        first: Name of the module of :math:`W_1, b_1`.
        second: Name of the module of :math:`W_2`.
    """

    def act(g: Tensor, theta: Tensors) -> Tensors:
        m, rho = matrix(group, g), matrix(group, g, alpha)
        moved = {
            f"{first}.weight": m @ theta[f"{first}.weight"],
            f"{second}.weight": theta[f"{second}.weight"] @ torch.linalg.inv(rho),
        }
        if f"{first}.bias" in theta:
            moved[f"{first}.bias"] = m @ theta[f"{first}.bias"]
        return moved

    return act


def two_layer(activation: nn.Module, m: int, h: int, n: int) -> nn.Sequential:
    r"""The module :math:`W_2 \sigma(W_1 x + b_1) + b_2`."""
    return nn.Sequential(nn.Linear(n, h), activation, nn.Linear(h, m))
