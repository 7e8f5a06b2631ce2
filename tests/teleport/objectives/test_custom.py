import pytest
import torch

from isoloss.teleport import Custom
from landscapes import landscape


def test_it_is_the_function():
    _, _, point = landscape()
    objective = Custom(lambda point, w: w["0.weight"].abs().sum(), name="sparsity", radius=0.4, passes=2)
    assert objective.evaluate(point, {}) == point.tensors["0.weight"].abs().sum()
    assert (objective.name, objective.radius, objective.passes) == ("sparsity", 0.4, 2)
    assert repr(objective).startswith("Custom(lower=False, name='sparsity'")


def test_it_is_given_the_point_and_all_parameters():
    _, _, point = landscape()
    seen = []
    Custom(lambda p, w: seen.append((p, w)) or torch.zeros(())).evaluate(point, {"0.bias": torch.zeros(8)})
    assert seen[0][0] is point
    assert seen[0][1].keys() == point.rates.keys() and not seen[0][1]["0.bias"].any()


@pytest.mark.parametrize(("value", "got"), [(1.0, "float"), (torch.zeros(3), r"shape \(3,\)")])
def test_functions_that_return_no_number_are_refused(value, got):
    _, _, point = landscape()
    with pytest.raises(
        ValueError, match=f"Custom: the function must return a tensor with one number; got {got}"
    ):
        Custom(lambda point, w: value).evaluate(point, {})


def test_what_is_no_function_is_refused():
    with pytest.raises(
        ValueError, match="function must be called with the point and the parameters; got 3.0; write"
    ):
        Custom(3.0)
