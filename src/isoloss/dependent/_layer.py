"""A linear or convolutional layer seen as a matrix that multiplies columns."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from isoloss._patches import patches

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Layer:
    """A layer, whose outputs are a matrix times columns.

    A column is a sample, for a linear layer, or a patch, for a convolution, with positions counting as samples. A bias
    is the last column of the matrix, and the columns then end in a one.

    Attributes:
        name: Of the module in the model.
        module: nn.Linear, or nn.Conv1d, nn.Conv2d or nn.Conv3d without groups; batched or not.
    """

    name: str
    module: nn.Module

    @staticmethod
    def suits(module: nn.Module | None) -> bool:
        """Is it a module that we can see as a matrix?"""
        if isinstance(module, CONVOLUTIONS):
            return module.groups == 1 and not module.transposed
        return isinstance(module, nn.Linear)

    @property
    def weight(self) -> Tensor:
        """The weight as it is stored."""
        return self.module.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        """The bias as it is stored, if there is one."""
        return self.module.bias  # type: ignore[return-value]

    @property
    def matrix(self) -> Tensor:
        """The weight as a matrix, with the bias as its last column; it may share memory with the weight."""
        flat = self.weight.detach().flatten(1)
        return flat if self.bias is None else torch.cat([flat, self.bias.detach()[:, None]], 1)

    def columns(self, x: Tensor) -> Tensor:
        """The inputs as columns, shape (inputs per output, samples), with a row of ones if there is a bias."""
        columns = self._columns(x)
        return columns if self.bias is None else pad(columns, (0, 0, 0, 1), value=1.0)

    def rows(self, z: Tensor) -> Tensor:
        """The outputs as the product of the matrix and the columns, shape (outputs, samples)."""
        if isinstance(self.module, nn.Linear):
            return z.reshape(-1, z.shape[-1]).mT
        return self._batched(z).movedim(1, 0).flatten(1)

    def image(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """The outputs in the layout of the module, from rows; the inverse of `rows`."""
        if isinstance(self.module, nn.Linear):
            return rows.mT.reshape(shape)
        if len(shape) < self.weight.dim():  # one sample, without an axis for it
            return rows.reshape(shape)
        return rows.reshape(shape[1], shape[0], *shape[2:]).movedim(1, 0)

    def tensors(self, matrix: Tensor) -> dict[str, Tensor]:
        """The parameters that a matrix stands for, by name."""
        prefix = f"{self.name}." if self.name else ""
        if self.bias is None:
            return {f"{prefix}weight": matrix.reshape(self.weight.shape).to(self.weight)}
        return {
            f"{prefix}weight": matrix[:, :-1].reshape(self.weight.shape).to(self.weight),
            f"{prefix}bias": matrix[:, -1].to(self.bias),
        }

    def write_(self, matrix: Tensor) -> None:
        """Write a matrix into the parameters."""
        with torch.no_grad():
            for name, new in self.tensors(matrix).items():
                target = self.weight if name.endswith("weight") else self.bias
                assert target is not None
                target.copy_(new)

    def _columns(self, x: Tensor) -> Tensor:
        if isinstance(self.module, nn.Linear):
            return x.reshape(-1, x.shape[-1]).mT
        module = self.module
        assert isinstance(module, CONVOLUTIONS)
        x = self._batched(x)
        margins = module._reversed_padding_repeated_twice
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        if any(margins):
            x = pad(x, margins, mode=mode)
        kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
        if isinstance(module, nn.Conv3d):
            return patches(x, kernel, stride, (0, 0, 0), dilation).mT
        if isinstance(module, nn.Conv1d):
            x, kernel = x.unsqueeze(-2), (1, *kernel)
            stride, dilation = (1, *stride), (1, *dilation)
        # Up to three times faster than `patches`.
        seen = unfold(x, kernel, dilation=dilation, stride=stride)  # (samples, channels * taps, positions)
        return seen.movedim(1, 0).reshape(x.shape[1] * prod(kernel), -1)

    def _batched(self, x: Tensor) -> Tensor:
        return x.unsqueeze(0) if x.dim() < self.weight.dim() else x
