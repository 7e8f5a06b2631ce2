"""The weights of an optimizee: tensors by name."""

from torch import Tensor

Tensors = dict[str, Tensor]
"""Weights, gradients or data of one optimizee by name; of several, each with a leading axis n."""
