import pytest
import torch
from torch import nn
from torch.optim import SGD

from isoloss.groups import PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry, named_tensors
from isoloss.teleport._plan import Plan, signature
from networks import mlp, mlp_symmetries


def plan(model, optimizer, symmetries=None):
    symmetries = mlp_symmetries(model) if symmetries is None else symmetries
    return Plan.of(optimizer, symmetries, named_tensors(model), lambda s: True)


def test_what_the_optimizer_trains_is_used():
    model = mlp(4, 5, 6, 3)
    found = plan(model, SGD(model.parameters(), lr=0.1))
    assert len(found.symmetries) == 2 and found.left_out == ()
    assert list(found.tensors) == [n for n, _ in model.named_parameters()]


def test_frozen_and_untrained_parameters_stay_where_they_are():
    model = mlp(4, 5, 6, 3)
    model[0].weight.requires_grad_(False)
    found = plan(model, SGD([*model[0].parameters(), *model[2].parameters()], lr=0.1))
    assert found.symmetries == ()
    assert found.left_out == ("R+^5 (0.weight is frozen)", "R+^6 (4.weight is not in the optimizer)")


def test_a_symmetry_may_read_what_is_frozen():
    model = mlp(4, 5, 6, 3)
    model[4].bias.requires_grad_(False)  # no scaling moves the last bias
    assert len(plan(model, SGD(model.parameters(), lr=0.1)).symmetries) == 2


def test_buffers_move_along():
    model = nn.BatchNorm1d(4)
    slots = tuple(Slot(n, Block.whole((4,)), (0,)) for n in ("weight", "bias", "running_mean"))
    symmetries = Symmetries([Symmetry(PositiveScaling(4), slots)], model)
    found = plan(model, SGD(model.parameters(), lr=0.1), symmetries)
    assert set(found.tensors) == {"weight", "bias", "running_mean"}
    point = found.point(SGD(model.parameters(), lr=0.1), "here")
    assert set(point.parameters) == {"weight", "bias"}


def test_integer_buffers_do_not():
    model = nn.BatchNorm1d(4)
    slot = Slot("num_batches_tracked", Block.whole(()), ())
    symmetries = Symmetries([Symmetry(PositiveScaling(1), (slot,))], model)
    assert plan(model, SGD(model.parameters(), lr=0.1), symmetries).left_out == (
        "R+^1 (num_batches_tracked is torch.int64)",
    )


def test_the_signature_changes_with_the_parameters():
    model = mlp(4, 5, 3)
    optimizer = SGD(model[0].parameters(), lr=0.1)
    seen = [signature(optimizer)]
    optimizer.param_groups[0]["lr"] = 0.2
    assert signature(optimizer) == seen[0]
    optimizer.add_param_group({"params": list(model[2].parameters())})
    seen.append(signature(optimizer))
    model[0].weight.requires_grad_(False)
    seen.append(signature(optimizer))
    model.double()
    seen.append(signature(optimizer))
    assert len(set(seen)) == 4


def test_rates_are_those_of_the_groups_now():
    model = mlp(4, 5, 3)
    optimizer = SGD([{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.3}], lr=0.1)
    found = plan(model, optimizer)
    optimizer.param_groups[1]["lr"] = torch.tensor(0.5)
    assert found.point(optimizer, "here").rates == {
        "0.weight": 0.1,
        "0.bias": 0.1,
        "2.weight": 0.5,
        "2.bias": 0.5,
    }


def test_sparse_gradients_are_refused():
    model = nn.Embedding(5, 3, sparse=True)
    optimizer = SGD(model.parameters(), lr=0.1)
    model(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(
        ValueError, match=r"here: gradients must be dense; got torch.sparse_coo for weight; use Emb"
    ):
        plan(model, optimizer, []).point(optimizer, "here")


def test_tensors_without_their_data_are_refused():
    with torch.device("meta"):
        model = mlp(4, 5, 3)
    with pytest.raises(
        ValueError, match="plain tensors with data; got a meta tensor for 0.weight; materialize"
    ):
        plan(model, SGD(model.parameters(), lr=0.1))
    model = mlp(4, 5, 3)
    model[2].bias.device_mesh = "what makes a DTensor"
    with pytest.raises(ValueError, match="got a distributed tensor for 2.bias; .* before it is sharded"):
        plan(model, SGD(model.parameters(), lr=0.1))
