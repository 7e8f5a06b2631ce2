"""Trees of tensors as vectors, and back."""

import pytest
import torch
from torch.func import vmap

from isoloss.discovery import Space

TREES = {
    "tensor": lambda n: torch.randn(n, 2, 3),
    "dict": lambda n: {"w": torch.randn(n, 2, 2), "b": torch.randn(n)},
    "nested": lambda n: ({"a": torch.randn(n, 3)}, [torch.randn(n, 1, 2), torch.randn(n)]),
}


@pytest.mark.parametrize("name", TREES)
def test_back_and_forth_is_the_same(name):
    tree = TREES[name](4)
    space = Space.of(tree, "here")
    flat = space.flat(tree)
    assert flat.shape == (4, space.size)
    again = space.tree(flat)
    torch.testing.assert_close(again, tree, rtol=0, atol=0)
    assert torch.equal(space.flat(again), flat)


def test_names_are_places_in_the_tree():
    assert Space.of(TREES["tensor"](2), "here").names == ("",)
    assert Space.of(TREES["dict"](2), "here").names == ("w", "b")
    assert Space.of(TREES["nested"](2), "here").names == ("0.a", "1.0", "1.1")


def test_leading_axes_are_kept_and_one_sample_has_none():
    tree = TREES["dict"](4)
    space = Space.of(tree, "here")
    flat = space.flat(tree)
    assert space.tree(flat[0])["w"].shape == (2, 2) and space.tree(flat[0])["b"].shape == ()
    assert space.tree(flat.expand(3, 4, -1))["w"].shape == (3, 4, 2, 2)
    assert torch.equal(vmap(lambda t: space.tree(t)["w"])(flat), tree["w"])


def test_whole_numbers_come_back_as_they_were():
    tree = {
        "x": torch.randn(3, 2),
        "label": torch.tensor([0, 7, 2**24]),
        "mask": torch.tensor([[True, False], [False, False], [True, True]]),
        "byte": torch.tensor([0, 128, 255], dtype=torch.uint8),
        "least": torch.tensor([-(2**24), 0, 1], dtype=torch.int32),
    }
    space = Space.of(tree, "here", whole=True)
    flat = space.flat(tree)
    assert flat.dtype == torch.float32
    torch.testing.assert_close(space.tree(flat), tree, rtol=0, atol=0)
    torch.testing.assert_close(space.tree(flat.double())["label"], tree["label"], rtol=0, atol=0)


def test_data_that_are_all_whole_are_real_coordinates():
    tokens = torch.randint(9, (4, 3))
    space = Space.of(tokens, "here", whole=True)
    assert space.flat(tokens).is_floating_point() and torch.equal(space.tree(space.flat(tokens)), tokens)


def test_whole_numbers_that_are_not_exact_are_refused():
    space = Space.of(torch.tensor([1, 2]), "here", whole=True)
    with pytest.raises(ValueError, match="here: whole numbers must be at most 16,777,216; got 16,777,217"):
        space.flat(torch.tensor([1, 2**24 + 1]))


@pytest.mark.parametrize(
    "tree, told",
    [
        ({}, "here: all tensors must hold the same number of samples; got no tensor"),
        ({"w": 3.0}, r"here: samples must be tensors of real numbers, \(n, \*shape\); got 3.0 for w"),
        ({"w": torch.tensor(1.0)}, r"got torch.float32 of shape \(\) for w"),
        (torch.ones(2, 3, dtype=torch.long), r"got torch.int64 of shape \(2, 3\);"),
        (torch.ones(2, 3, dtype=torch.complex64), "got torch.complex64"),
        ({"a": torch.ones(2), "b": torch.ones(3)}, r"the same number of samples; got \[2, 3\]"),
    ],
)
def test_what_is_no_sample_is_refused(tree, told):
    with pytest.raises(ValueError, match=told):
        Space.of(tree, "here")


def test_complex_data_are_refused():
    with pytest.raises(ValueError, match="got torch.complex64"):
        Space.of(torch.ones(2, 3, dtype=torch.complex64), "here", whole=True)


def test_other_samples_than_before_are_refused():
    space = Space.of(TREES["dict"](2), "here")
    with pytest.raises(ValueError, match="here: samples must be alike from call to call; got"):
        space.flat({"w": torch.ones(2, 2, 2)})
    with pytest.raises(
        ValueError, match=r"the same shapes from call to call; got \(3, 2\) after \(2, 2\) for w"
    ):
        space.flat({"w": torch.ones(2, 3, 2), "b": torch.ones(2)})
