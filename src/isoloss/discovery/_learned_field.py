"""The infinitesimal action that was learned, as a vector field on named parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from isoloss.discovery._space import Space
from isoloss.discovery.actions import Action


@dataclass(frozen=True)
class LearnedField:
    r"""The field :math:`v_c(\theta; X) = D_g a_X|_{I, \theta}(\sum_i c_i h_i)`.

    Attributes:
        action: The action map a.
        generators: h, (k, m, m).
        params: The space of the parameters; its names are those of the field.
        data: That of the data.
    """

    action: Action
    generators: Tensor
    params: Space
    data: Space

    def __call__(self, c: Tensor, tensors: Mapping[str, Tensor], data: Any) -> dict[str, Tensor]:
        """The velocities by name, for parameters and one sample of data; computed in the dtype of the generators."""
        h = torch.einsum("k,kij->ij", c.to(self.generators), self.generators)
        theta = torch.cat([tensors[n].reshape(-1) for n in self.params.names]).to(h)
        x = self.data.flat(pytree.tree_map(lambda t: t.unsqueeze(0), data)).to(h)
        v = self.action.directions(h[None], theta[None], x)[0, 0]
        parts = v.split([prod(shape) for shape in self.params.shapes])
        return {
            n: part.reshape(tensors[n].shape).to(tensors[n])
            for n, part in zip(self.params.names, parts, strict=True)
        }
