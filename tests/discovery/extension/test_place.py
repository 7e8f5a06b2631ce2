"""A small network's tensors are blocks of the large one's; what is no block, or no parameter, is refused by name."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.discovery.extension import Place
from isoloss.discovery.extension._place import places_below, places_given
from isoloss.symmetry import Block


@pytest.fixture
def model() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), nn.Linear(4, 5))
    model.append(nn.Linear(6, 5))
    model[3].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    "index",
    [
        (slice(2, 4),),
        (slice(None), slice(1, 6, 2)),
        ((slice(1, -1), slice(None, 2)),),
        (Ellipsis, slice(2)),
        (slice(2), Ellipsis),
        (range(1, 4, 2), 3),
        (-1,),
        (-2, slice(3, 4)),
        (),
    ],
)
def test_an_index_is_that_of_the_tensor(model, index):
    plain = index[0] if len(index) == 1 and isinstance(index[0], tuple) else index
    plain = tuple(slice(i.start, i.stop, i.step) if isinstance(i, range) else i for i in plain)
    weight = model[0].weight.detach()
    place = places_given(model, {"w": ("0.weight", *index)})["w"]
    assert_close(place.block.view(weight), weight[plain], rtol=0, atol=0)


def test_a_block_may_be_given(model):
    block = Block((1, 0), (((2, 2),), ((2, 3), (3, 1))))
    assert places_given(model, {"w": ("0.weight", block)}) == {"w": Place("0.weight", block)}


def test_a_path_finds_parameters_and_buffers(model):
    places = places_below(model, "1")
    assert places["0.weight"] == Place("1.0.weight", Block.whole((4, 5)))
    assert places["1.running_var"] == Place("1.1.running_var", Block.whole((4,)))


def test_a_tied_weight_has_its_first_name(model):
    assert places_below(model, "3")["weight"].parameter == "0.weight"
    assert places_given(model, {"w": "3.weight"})["w"].parameter == "0.weight"


@pytest.mark.parametrize(
    ("at", "error", "message"),
    [
        ({"w": 3}, TypeError, "to names, or to tuples of a name and an index; got 3 for w"),
        ({"w": "0.wait"}, ValueError, "must name parameters of the model; got 0.wait for w"),
        (
            {"w": ("0.weight", [0, 1])},
            ValueError,
            r"integers, slices and ranges.*got \[0, 1\] for an axis of 5",
        ),
        ({"w": ("0.weight", slice(None, None, -1))}, ValueError, "steps above zero"),
        ({"w": ("0.weight", range(3, 7))}, ValueError, "within the axis"),
        ({"w": ("0.weight", slice(3, 3))}, ValueError, "within the axis"),
        ({"w": ("0.weight", 5)}, ValueError, "within the axis"),
        ({"w": ("0.weight", 1, 1, 1)}, ValueError, r"at most one entry for each axis; got 3 .* \(5, 6\)"),
        ({"w": ("0.weight", Block.whole((6, 6)))}, ValueError, "a block must lie in its parameter"),
        (
            {"w": ("0.weight", slice(3)), "v": ("3.weight", slice(2, 4))},
            ValueError,
            "must not overlap; got w and v",
        ),
    ],
)
def test_what_is_no_place_is_refused(model, at, error, message):
    with pytest.raises(error, match=message):
        places_given(model, at)


def test_places_of_one_parameter_may_lie_side_by_side(model):
    places = places_given(model, {"w": ("0.weight", slice(3)), "v": ("3.weight", slice(3, 5))})
    assert [p.parameter for p in places.values()] == ["0.weight", "0.weight"]


def test_a_path_that_leads_nowhere_is_refused(model):
    with pytest.raises(ValueError, match="got '7.x'; choose one of 0, 1, 1.0"):
        places_below(model, "7.x")


def test_blocks_are_read_where_they_lie(model):
    place = places_given(model, {"w": ("0.weight", slice(1, 3), slice(2, 4))})["w"]
    new = torch.ones(2, 2)
    moved = place.block.replaced(model[0].weight.detach(), new)
    assert_close(moved[1:3, 2:4], new)
