"""Discoveries on disk."""

import json
from collections import namedtuple
from math import inf, nan

import pytest
import torch
from torch import nn

from discovery.losses import SCALAR, TANH
from discovery.symmetries import SIGMOID, Compensate
from isoloss.discovery import Discovery, Recipe, discover, normal
from isoloss.discovery._save import CONFIG
from isoloss.discovery.actions import NAMES

SHORT = Recipe(steps=4, batch=4, validate=2, validation=8)


class Own(Compensate):
    def __init__(self, params, data, power=0.0):
        super().__init__(params, data)
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, g, theta, x):
        return super().forward(g ** self.power.exp(), theta, x)


def assert_same(one, two):
    a, b = one.action.state_dict(), two.action.state_dict()
    assert type(one.action) is type(two.action) and one.action.options == two.action.options
    assert a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)
    assert torch.equal(one.generators, two.generators) and one.generators.dtype == two.generators.dtype
    assert (one.params, one.data) == (two.params, two.data)
    assert (one.recipe, one.grade, one.history) == (two.recipe, two.grade, two.history)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_is_what_was_saved(name, tmp_path):
    options = {"width": 5, "depth": 3} if "mlp" in name or "residual" in name or "anchored" in name else None
    found = discover(*TANH, n_generators=2, action=name, recipe=SHORT, options=options)
    before = torch.random.get_rng_state()
    assert found.save(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    again = Discovery.load(tmp_path / "a" / "b", loss=TANH[0])
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same(found, again)
    assert not any(p.requires_grad for p in again.action.parameters())
    torch.manual_seed(0)
    params, data = TANH[1](3), TANH[2](3)
    assert torch.equal(found.directions(params, data), again.directions(params, data))
    curve = (torch.ones(2), params, data, 0.1, 3)
    assert torch.equal(found.curve(*curve), again.curve(*curve))
    theta, x = found.params.flat(params), found.data.flat(data)
    assert torch.equal(found.losses()(theta, x), again.losses()(theta, x))
    assert Discovery.load(tmp_path / "a" / "b").loss is None


def test_trees_and_whole_numbers_survive(tmp_path):
    def data(n):
        return [{"x": torch.randn(n, 2)}, (torch.randint(3, (n,)), torch.rand(n) > 0.5)]

    def loss(w, data):
        label, kept = data[1]
        return w["w"][label] @ data[0]["x"] * kept

    found = discover(loss, normal(w=(3, 2)), data, action="linear", recipe=SHORT)
    again = Discovery.load(found.save(tmp_path), loss=loss)
    assert_same(found, again)
    assert again.data.whole == (None, torch.int64, torch.bool)
    sample = data(4)
    torch.testing.assert_close(again.data.tree(again.data.flat(sample)), sample, rtol=0, atol=0)


def test_infinity_and_nan_survive(tmp_path):
    from dataclasses import replace

    found = discover(*SCALAR, action="linear", recipe=Recipe(**vars(SHORT) | {"clip": inf}))
    found = replace(found, grade=replace(found.grade, identity=nan, norms=(inf,)))
    again = Discovery.load(found.save(tmp_path))
    assert (
        again.recipe.clip == inf
        and again.grade.norms == (inf,)
        and again.grade.identity != again.grade.identity
    )


def test_another_replaces_it_and_leaves_nothing_behind(tmp_path):
    one = discover(*SCALAR, action="linear", recipe=SHORT)
    two = discover(*SCALAR, action="linear", recipe=Recipe(**vars(SHORT) | {"seed": 1}))
    one.save(tmp_path)
    assert_same(two, Discovery.load(two.save(tmp_path)))
    assert len(list(tmp_path.iterdir())) == 2


def test_an_action_of_ones_own_is_given_again(tmp_path):
    found = discover(*SIGMOID, action=Own(2, 2), recipe=SHORT)
    found.save(tmp_path)
    given = Own(2, 2)
    assert_same(found, Discovery.load(tmp_path, action=given))
    assert float(given.power.detach()) == 0.0 and given.power.dtype == torch.float32  # a copy is filled
    with pytest.raises(
        ValueError, match=r"is of an action of the user's own; got NoneType for Own; give one, load"
    ):
        Discovery.load(tmp_path)
    with pytest.raises(ValueError, match="got Compensate for Own"):
        Discovery.load(tmp_path, action=Compensate(2, 2))


def test_an_action_of_the_same_name_but_other_tensors_is_refused(tmp_path):
    discover(*SIGMOID, action=Own(2, 2), recipe=SHORT).save(tmp_path)
    other = type("Own", (Compensate,), {})
    with pytest.raises(ValueError, match="tensors must be those of the action Own; got others"):
        Discovery.load(tmp_path, action=other(2, 2))


def test_samples_in_trees_that_no_file_describes_are_refused(tmp_path):
    pair = namedtuple("pair", "x y")
    found = discover(
        lambda w, d: (w * d.x - d.y).square(), torch.randn, lambda n: pair(torch.randn(n), torch.randn(n)),
        action="linear", recipe=SHORT,
    )  # fmt: skip
    with pytest.raises(ValueError, match="Discovery.save: samples must be in dicts, lists and tuples"):
        found.save(tmp_path)


def test_an_empty_folder_holds_none(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="Discovery.load: the folder must hold a discovery; got .* without"
    ):
        Discovery.load(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "gone", "other", "bit"])
def test_damaged_weights_are_refused(damage, tmp_path):
    discover(*SCALAR, action="linear", recipe=SHORT).save(tmp_path)
    (path,) = tmp_path.glob("weights-*")
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-3], "other": b"x", "bit": flipped}[damage])
    with pytest.raises(ValueError, match="Discovery.load: the file must be as it was saved; got .*weights"):
        Discovery.load(tmp_path)


def broken(told, change):
    for place, value in change.items():
        if value is None:
            told.pop(place)
        else:
            told[place] = value
    return told


@pytest.mark.parametrize(
    "change, told",
    [
        ({"format": 2}, "formats up to 1 are known; got 2 in .* install that version"),
        ({"format": None}, "the file must be as it was saved"),
        ({"grade": {}}, "the file must be as it was saved"),
        ({"recipe": {"steps": 0}}, "the file must be as it was saved"),
        ({"params": {"names": []}}, "the file must be as it was saved"),
        ({"history": [{}]}, "the file must be as it was saved"),
        ({"options": {"width": 3}}, "the file must be as it was saved"),
        ({"action": "cubic"}, "actions known by name are linear, .*; got 'cubic'"),
        ({"action": "affine"}, r"generators must be \(3, 3\) for affine; got \(2, 2\)"),
        ({"action": "mlp"}, "tensors must be those of the action mlp; got others"),
    ],
)
def test_damaged_configurations_are_refused(change, told, tmp_path):
    discover(*SCALAR, action="linear", recipe=SHORT).save(tmp_path)
    path = tmp_path / CONFIG
    path.write_text(json.dumps(broken(json.loads(path.read_text()), change)))
    with pytest.raises(ValueError, match=told):
        Discovery.load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "3", ""])
def test_a_configuration_that_is_none_is_refused(content, tmp_path):
    (tmp_path / CONFIG).write_text(content)
    with pytest.raises(ValueError, match="the file must be as it was saved; got .*config.json"):
        Discovery.load(tmp_path)
