"""Example inputs as written on the command line."""

import pytest
import torch
from torch import nn

from isoloss.cli._inputs import make_inputs


def test_floats_by_default():
    (x,) = make_inputs(["2,3,32,32"], nn.Identity())
    assert x.shape == (2, 3, 32, 32) and x.dtype == torch.float32 and x.std() > 0.9


def test_indices_stay_below_the_smallest_embedding_or_the_number_given():
    model = nn.ModuleList([nn.Embedding(50, 2), nn.Embedding(7, 2)])
    (x,) = make_inputs(["int:100,100"], model)
    assert x.dtype == torch.int64 and set(x.unique().tolist()) == set(range(7))
    (x,) = make_inputs(["int3:100"], model)
    assert set(x.unique().tolist()) == set(range(3))


def test_indices_fit_the_embedding_that_a_model_names_as_its_input():
    model = nn.ModuleDict({"words": nn.Embedding(9, 2), "kinds": nn.Embedding(2, 2)})
    model.get_input_embeddings = lambda: model["words"]
    assert make_inputs(["int:1000"], model)[0].max() == 8


def test_names_give_keywords():
    inputs = make_inputs(["ids=int5:1,4", "mask=float:1,4"], nn.Identity())
    assert {name: (tuple(x.shape), x.dtype) for name, x in inputs.items()} == {
        "ids": ((1, 4), torch.int64),
        "mask": ((1, 4), torch.float32),
    }


@pytest.mark.parametrize("wrong", ["", "2,x", "2;3", "bool:2", "-1,2", "int:", "=2", "2,,3"])
def test_what_is_no_shape_is_refused(wrong):
    with pytest.raises(ValueError, match="an input is a shape such as .* got '"):
        make_inputs([wrong], nn.Identity())


def test_none_and_half_named_are_refused():
    with pytest.raises(ValueError, match="an example input is needed .* got none; give --input"):
        make_inputs([], nn.Identity())
    with pytest.raises(ValueError, match="names all or none; got 2,3 mask=2,3"):
        make_inputs(["2,3", "mask=2,3"], nn.Identity())
