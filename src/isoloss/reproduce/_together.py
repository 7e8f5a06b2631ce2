"""Many networks trained at once: `torch.func.vmap` over stacked parameters."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import one_hot

from isoloss.reproduce._network import Perceptron, Weights, act, outputs

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]

BLOCK = 10
"""Steps whose first layer is one matrix product: with 20 samples each, enough rows for it to run at full speed. The
inner products then cost 100 multiplications per sample and neuron, against twice the number of inputs."""


def stack(widths: Sequence[int], models: int, seed: int) -> Weights:
    """The weights of networks with different initializations, each tensor (model, out, in)."""
    drawn = [Perceptron(widths, torch.Generator().manual_seed(seed + i)).weights for i in range(models)]
    return tuple(torch.stack([w.detach() for w in ws]) for ws in zip(*drawn, strict=True))


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross entropy; targets are one-hot, (sample, class).

    Three times faster under vmap than torch's for ten classes, and that is a fifth of a small network's step.
    """
    largest = outputs.detach().amax(-1, keepdim=True)
    normalizer = (outputs - largest).exp().sum(-1).log() + largest.squeeze(-1)
    return (normalizer - (outputs * targets).sum(-1)).mean()


def hot(y: Tensor, classes: int) -> Tensor:
    """Labels as one-hot rows, float32."""
    return one_hot(y, classes).float()


class Together:
    r"""Stochastic gradient descent of many networks, in place, every one on the same batches.

    It is what one network after another would do, up to rounding, for networks do not interact. As they share the
    batches, the first layer of all is one matrix product. It is taken for several steps at once, before any of them:
    a step moves the first matrix W by :math:`-\eta\, \delta^T x`, so that a later batch x' of the same block sees

    .. math:: x' (W - \eta\, \delta^T x)^T = x' W^T - \eta\, (x' x^T)\, \delta

    where the inner products of the samples are few numbers. Thus W, which no cache holds, is read once and written
    once in a block. What vmap makes of the other layers is recorded once per shape and replayed, which spares vmap's
    cost per operation.

    Args:
        weights: Stacked, (model, out, in); changed in place.
        loss: Of outputs and targets, for one network.
        rate: The learning rate.
    """

    def __init__(self, weights: Weights, loss: Loss, rate: float):
        self.first, self.rest = weights[0].flatten(0, 1), weights[1:]
        self.shape = weights[0].shape[:2]
        self.rate = rate
        self._gradients = vmap(
            grad(lambda z, ws, y: loss(outputs(ws, act(z)), y), argnums=(0, 1)),
            in_dims=(1, 0, None),
            out_dims=(1, 0),
        )
        self._recorded: dict[torch.Size, Callable[..., Any]] = {}

    def steps(self, batches: Sequence[Batch]) -> None:
        """A step on each batch, inputs (sample, in) and targets, one after another."""
        x = torch.cat([x for x, _ in batches])
        z, inner = x @ self.first.mT, x @ x.mT
        dz, done = torch.empty_like(z), 0
        for _, y in batches:
            here = slice(done, done + len(y))
            if done:
                z[here].addmm_(inner[here, :done], dz[:done], alpha=-self.rate)
            dz[here] = self._step(z[here].unflatten(1, self.shape), y).flatten(1)
            done += len(y)
        self.first.addmm_(dz.mT, x, alpha=-self.rate)

    def _step(self, z: Tensor, y: Tensor) -> Tensor:
        """Step the layers after the first; returns the gradient at its outputs z, (sample, model, out)."""
        if z.shape not in self._recorded:
            self._recorded[z.shape] = make_fx(self._gradients)(z, self.rest, y)
        dz, gradients = self._recorded[z.shape](z, self.rest, y)
        torch._foreach_add_(list(self.rest), list(gradients), alpha=-self.rate)
        return dz


def descend_(weights: Weights, batches: Iterable[Batch], loss: Loss, rate: float) -> None:
    """Steps of all networks over the batches; see `Together`."""
    together, rest = Together(weights, loss, rate), iter(batches)
    while block := list(islice(rest, BLOCK)):
        together.steps(block)


@torch.no_grad()
def losses(weights: Weights, x: Tensor, y: Tensor, loss: Loss, chunk: int = 500) -> Tensor:
    """The mean loss of every network, (model,)."""
    total = torch.zeros(len(weights[0]), dtype=weights[0].dtype)
    each = vmap(lambda ws, x, y: loss(outputs(ws, x), y), in_dims=(0, None, None))
    for xs, ys in zip(x.split(chunk), y.split(chunk), strict=True):
        total += each(weights, xs, ys) * len(ys)
    return total / len(y)
