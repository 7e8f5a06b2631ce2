import pytest
import torch
from torch.testing import assert_close

from isoloss.teleport import Distance
from landscapes import landscape
from networks import mlp_symmetries


def test_it_is_the_sum_of_squares_of_the_differences():
    model, _, point = landscape()
    target = {n: torch.randn_like(t) for n, t in point.parameters.items()}
    found = Distance(target).evaluate(point, {})
    assert_close(found, sum((t - target[n]).square().sum() for n, t in point.parameters.items()))
    assert Distance(model.state_dict()).evaluate(point, {}) == 0.0


def test_it_is_zero_only_where_the_target_is():
    """A network and the same network moved along its orbit: the element back brings the distance to zero."""
    model, _, point = landscape()
    symmetries = mlp_symmetries(model)
    logs = [0.3 * torch.randn(s.group.n).double() for s in symmetries]
    moved = dict(point.tensors) | symmetries.act([a.exp() for a in logs], point.tensors)
    objective = Distance(point.tensors)
    assert objective.evaluate(point, moved) > 0.1
    back = symmetries.act([(-a).exp() for a in logs], moved)
    assert objective.evaluate(point, moved | back) < 1e-25


def test_what_the_target_leaves_out_does_not_count():
    _, _, point = landscape()
    target = {"0.weight": point.tensors["0.weight"] + 1.0, "elsewhere": torch.zeros(1)}
    found = Distance(target).evaluate(point, {"2.weight": torch.zeros(7, 8).double()})
    assert found.item() == pytest.approx(40.0)


def test_targets_that_do_not_fit_are_refused():
    _, _, point = landscape()
    with pytest.raises(
        ValueError, match="the target must name parameters of the model; got elsewhere; .* 0.weight"
    ):
        Distance({"elsewhere": torch.zeros(1)}).evaluate(point, {})
    with pytest.raises(
        ValueError, match=r"must have the shapes of the parameters; got \(2, 2\) for 0.weight"
    ):
        Distance({"0.weight": torch.zeros(2, 2)}).evaluate(point, {})


def test_a_model_is_no_target():
    model, *_ = landscape()
    with pytest.raises(
        ValueError, match=r"the target must be tensors by name; got Sequential; pass model.state_dict\(\)"
    ):
        Distance(model)


def test_it_takes_targets_in_other_precisions():
    _, _, point = landscape()
    target = {n: t.to(torch.bfloat16) for n, t in point.parameters.items()}
    found = Distance(target).evaluate(point, {})
    assert found.dtype == torch.float64 and 0.0 < found < 1e-2
