"""Softmax: a uniform shift of the logits does not matter."""

from torch import Tensor, nn

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Tensors, gaussian
from isoloss.groups import Translation


def act(g: Tensor, theta: Tensors) -> Tensors:
    """The same vector is added to every row."""
    return {"0.weight": theta["0.weight"] + g}


def example(m: int = 4, n: int = 3) -> Example:
    """Classes m, inputs n."""
    model = nn.Sequential(nn.Linear(n, m, bias=False), nn.Softmax(-1))
    return Example.of(model, gaussian(n), Translation(n), act)


SOFTMAX = Entry(
    name="Softmax",
    source="Ex. 1.2.8, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"\mathrm{softmax}(W x)",
    group=r"(\mathbb{R}^n, +)",
    action="W_i + g",
    dimension="n",
    limits=r"The softmax mixes the classes, one for each row of $W$, sample by sample. The printed $\sigma$ on the "
    r"rows of $W X$ would mix samples, and then it is no symmetry. A bias adds one dimension.",
    example=example,
)
