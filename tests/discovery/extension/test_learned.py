"""A symmetry that was learned on two numbers, in a network that has them in its middle."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from isoloss.discovery import Recipe, discover, extend, normal
from isoloss.symmetry import named_tensors


class Scalar(nn.Module):
    """The network of Figure 6.3."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.2)), nn.Parameter(torch.tensor(-0.7))

    def forward(self, x: Tensor) -> Tensor:
        return self.b * self.a * x


class Whole(nn.Module):
    """Scalar between two layers, and one of its numbers once more if it is asked for."""

    def __init__(self, once_more: bool = False):
        super().__init__()
        self.before, self.f, self.after = nn.Linear(3, 1), Scalar(), nn.Linear(1, 2)
        self.once_more = once_more

    def forward(self, x: Tensor) -> Tensor:
        y = self.after(self.f(self.before(x)).tanh())
        return y + self.f.a if self.once_more else y


def loss(w: dict[str, Tensor], data: dict[str, Tensor]) -> Tensor:
    return (w["b"] * w["a"] * data["x"] - data["y"]).square()


def with_target(h: Tensor) -> dict[str, Tensor]:
    """The data of the small loss, of what f reads; any target will do."""
    return {"x": h.reshape(()), "y": torch.zeros_like(h).reshape(())}


def test_the_rescaling_of_figure_6_3_in_a_larger_network():
    found = discover(loss, normal(a=(), b=()), normal(x=(), y=()), action="linear", recipe=Recipe(steps=400))
    small = found.symmetry(with_target(torch.tensor(0.8)), Scalar())
    model, x = Whole(), torch.randn(1, 3)
    large = extend(small, into=model, at="f", inputs=x, as_data=with_target)
    assert large.parameters == ("f.a", "f.b")
    velocity = large.generator(torch.ones(1), {n: t.detach() for n, t in named_tensors(model).items()})
    true = torch.stack([model.f.a, -model.f.b]).detach()
    # The bar of Figure 6.3.
    assert abs(float(cosine_similarity(torch.stack(list(velocity.values())), true, dim=0))) >= 0.99
    with pytest.raises(ValueError, match="only through f; got f.a, read elsewhere"):
        extend(small, into=Whole(once_more=True), at="f", inputs=x, as_data=with_target)
