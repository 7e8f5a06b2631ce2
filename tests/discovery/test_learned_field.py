"""What was learned, as a symmetry of a model."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.testing import assert_close

import isoloss
from isoloss.discovery import Discovery, Recipe, discover, normal
from isoloss.symmetry import Symmetries


class Scalar(nn.Module):
    """The network of Figure 6.3: two numbers, one after another."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.2)), nn.Parameter(torch.tensor(-0.7))

    def forward(self, x: Tensor) -> Tensor:
        return self.b * self.a * x


def loss(w: dict[str, Tensor], data: dict[str, Tensor]) -> Tensor:
    return (w["b"] * w["a"] * data["x"] - data["y"]).square()


DATA = {"x": torch.tensor(0.8), "y": torch.tensor(0.3)}


@pytest.fixture(scope="module")
def found() -> Discovery:
    return discover(loss, normal(a=(), b=()), normal(x=(), y=()), action="linear", recipe=Recipe(steps=400))


def test_the_field_is_the_direction_that_was_learned(found):
    symmetry = found.symmetry(DATA)
    w = {"a": torch.tensor(1.2), "b": torch.tensor(-0.7)}
    velocity = symmetry.generator(torch.tensor([2.0]), w)
    batched = [{n: t[None] for n, t in tree.items()} for tree in (w, DATA)]
    expected = 2 * found.directions(*batched)[0, 0].float()
    assert_close(torch.stack([velocity["a"], velocity["b"]]), expected)


def test_its_flow_is_the_group_element_where_the_action_is_linear(found):
    symmetry = replace(found.symmetry(DATA), steps=64)
    w = {"a": torch.tensor(1.2).double(), "b": torch.tensor(-0.7).double()}
    moved = symmetry.act(torch.tensor([0.5]), w)
    expected = found.elements(0.5)[0] @ torch.stack([w["a"], w["b"]])
    assert_close(torch.stack([moved["a"], moved["b"]]), expected, rtol=1e-8, atol=1e-8)  # 64 (0.5 / 64)^5


def test_its_error_is_measured_at_the_model(found):
    symmetry = found.symmetry(DATA, Scalar())
    assert symmetry.invariance is not None and symmetry.invariance.ratio < 0.1
    assert symmetry.error == found.symmetry(DATA, Scalar()).error
    assert found.symmetry(DATA).error is None


def test_a_teleport_along_what_was_learned(found):
    model = Scalar()
    symmetries = Symmetries([found.symmetry(DATA, model)], model)

    def closure() -> Tensor:
        return loss(dict(model.named_parameters()), DATA)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    options: dict[str, Any] = {"schedule": isoloss.teleport.always, "approximate": True, "loss": closure}
    teleport = isoloss.Teleport(optimizer, symmetries, max_loss_change=0.05, radius=0.3, **options)
    closure().backward()
    jump = teleport.step()
    assert jump is not None and jump.skipped is None
    assert jump.gradient_norm_after is not None and jump.gradient_norm_before is not None
    assert jump.gradient_norm_after > jump.gradient_norm_before


def test_elements_are_told_apart_by_what_was_learned(found):
    other = replace(found, generators=-found.generators)
    assert (
        found.symmetry(DATA).signature()
        == found.symmetry(DATA).signature()
        != other.symmetry(DATA).signature()
    )


def test_nested_names():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))

    def nested(w: dict[str, dict[str, Tensor]], data: dict[str, Tensor]) -> Tensor:
        flat = {f"{i}.weight": w[i]["weight"] for i in ("0", "1")}
        return (functional_call(model, flat, (data["x"],)) - data["y"]).square().sum()

    def sample(n: int):
        return {i: {"weight": torch.randn(n, 1, 1)} for i in ("0", "1")}

    found = discover(nested, sample, normal(x=(1,), y=(1,)), action="linear", recipe=Recipe(steps=400))
    symmetry = found.symmetry({"x": torch.ones(1), "y": torch.ones(1)}, model)
    assert symmetry.parameters == ("0.weight", "1.weight")
    assert symmetry.invariance is not None and symmetry.invariance.ratio < 0.1


def test_refusals(found):
    with pytest.raises(ValueError, match=r"must have the parameters that were sampled; got none for a"):
        found.symmetry(DATA, nn.Linear(1, 1))
    wrong = nn.ParameterDict({"a": torch.ones(2), "b": torch.ones(())})
    with pytest.raises(ValueError, match=r"got shape \(2,\) for a of shape \(\)"):
        found.symmetry(DATA, wrong)
    with pytest.raises(ValueError, match="must have names; got a bare tensor"):
        replace(found, params=replace(found.params, names=("",))).symmetry(DATA)


def test_what_was_not_found_is_none(found):
    none = discover(loss, normal(a=(), b=()), normal(x=(), y=()), action="linear", recipe=Recipe(steps=1))
    assert not none.found
    with pytest.raises(ValueError, match="there must be a symmetry; got none: .*; train longer"):
        none.symmetry(DATA)


def test_a_symmetry_read_from_a_file_is_not_measured(found):
    assert replace(found, loss=None).symmetry(DATA, Scalar()).error is None
