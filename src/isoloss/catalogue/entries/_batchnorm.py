"""Batch normalization: the scale in front of it does not matter."""

from torch import Tensor, nn

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Tensors, gaussian
from isoloss.groups import PositiveScaling


def act(g: Tensor, theta: Tensors) -> Tensors:
    """Rows of the weight are scaled; nothing undoes it."""
    return {"0.weight": g[:, None] * theta["0.weight"]}


def example(m: int = 3, n: int = 5) -> Example:
    """Features m, inputs n; statistics of the batch."""
    norm = nn.BatchNorm1d(m, eps=1e-300, affine=False, track_running_stats=False)
    return Example.of(nn.Sequential(nn.Linear(n, m, bias=False), norm), gaussian(n), PositiveScaling(m), act)


BATCHNORM = Entry(
    name="Batchnorm",
    source="Ex. 1.2.7, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"\frac{(W x)_i - E[(W x)_i]}{\sqrt{\mathrm{Var}[(W x)_i]}}",
    group=r"\mathbb{R}_{>0}^m",
    action="g W",
    dimension="m",
    limits=r"With statistics of the batch, hence a function of batches, not of samples; in eval mode running "
    r"statistics would have to move along. The eps of a norm breaks it: exact for $\epsilon = 0$, which torch does not "
    r"allow here (the example has 1e-300), else up to eps. Table 1.1 has $h$ for $m$; the text says equivariant and "
    r"means invariant.",
    example=example,
)
