"""Meta-optimizers on disk."""

import json
import pickle
from math import inf

import pytest
import torch

from isoloss import _files
from isoloss.learn import (
    Design,
    MetaOptimizer,
    Recipe,
    _save,
    evaluate,
    load,
    load_checkpoint,
    meta_train,
    save,
)
from isoloss.learn.tasks import TwoLayerRegression

TASKS = TwoLayerRegression(3)

DESIGNS = {
    "coordinate": Design(hidden=4, every=3),
    "all": Design(variant=("update", "lr", "momentum", "tele"), hidden=4),
    "whole": Design(network="whole", hidden=4),
    "published": Design.published("lr", "tele"),
}


def made(name):
    torch.manual_seed(0)
    meta = MetaOptimizer.of(DESIGNS[name], TASKS)
    with torch.no_grad():
        for p in meta.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return meta


def same(one, two):
    a, b = one.state_dict(), two.state_dict()
    assert a.keys() == b.keys()
    return all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_loaded_is_what_was_saved(name, dtype, tmp_path):
    meta = made(name).to(dtype)
    before = torch.random.get_rng_state()
    again = load(save(meta, tmp_path / "a" / "b", info={"tasks": "regression", "runs": 3}))
    assert torch.equal(before, torch.random.get_rng_state())
    assert again.design == meta.design and again.layout == meta.layout and same(again, meta)
    assert all(p.requires_grad and p.device.type == "cpu" for p in again.parameters())
    assert again.info == {"tasks": "regression", "runs": 3} and meta.info == {}
    draw = TASKS.draw(2, torch.Generator().manual_seed(0))
    one, two = (evaluate(m, TASKS, draw, 5).losses for m in (meta, again))
    assert torch.equal(one, two)


def test_the_configuration_is_json_that_people_can_read(tmp_path):
    meta = made("published")
    meta.info = {"tasks": "ours"}
    save(meta, tmp_path)
    told = json.loads((tmp_path / "config.json").read_text(), parse_constant=pytest.fail)
    assert told["design"]["trust"] == "inf" and meta.design.trust == inf
    assert told["layout"] == [["W1", [3, 3]], ["W2", [3, 3]]] and told["actions"] == [[3, 3]]
    assert told["info"] == {"tasks": "ours"} and told["format"] == _save.FORMAT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", told["weights"]]


def test_another_one_in_the_same_folder_takes_its_place(tmp_path):
    first, second = made("coordinate"), made("whole")
    save(first, tmp_path)
    save(second, tmp_path)
    assert same(load(tmp_path), second) and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("failing", [1, 2])
def test_interrupted_it_leaves_what_was_there(failing, tmp_path, monkeypatch):
    first = made("coordinate")
    save(first, tmp_path)
    write, calls = _files.write_file, []

    def interrupted(path, content):
        calls.append(path)
        if len(calls) == failing:
            raise KeyboardInterrupt
        return write(path, content)

    monkeypatch.setattr(_files, "write_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(made("whole"), tmp_path)
    assert same(load(tmp_path), first)


def edited(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="without config.json; name one that save wrote"):
        load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="without checkpoint.safetensors"):
        load_checkpoint(tmp_path)


def test_newer_formats_are_refused(tmp_path):
    save(made("coordinate"), tmp_path)
    edited(tmp_path, format=2, isoloss="9.9")
    with pytest.raises(ValueError, match="formats up to 1 are known; got 2 in .*by isoloss 9.9; install"):
        load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None},
        {"design": {}},
        {"design": "update"},
        {"layout": 3},
        {"sha256": "0"},
        {"weights": "absent"},
        {"weights": None},
    ],
    ids=str,
)
def test_damaged_configurations_are_refused(changes, tmp_path):
    save(made("coordinate"), tmp_path)
    edited(tmp_path, **changes)
    with pytest.raises(ValueError, match="^load: the file must be as it was saved; got .*save it again.$"):
        load(tmp_path)


def test_designs_out_of_range_and_unknown_words_are_refused(tmp_path):
    save(made("coordinate"), tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())["design"]
    for change, reason in (({"rate": -1.0}, "rate must be positive"), ({"speed": 1}, "unknown speed")):
        edited(tmp_path, design=told | change)
        with pytest.raises(ValueError, match=f"must be as it was saved; .*{reason}"):
            load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_files_that_are_no_configuration_are_refused(text, tmp_path):
    save(made("coordinate"), tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json, which is not"):
        load(tmp_path)


def test_one_wrong_byte_is_seen(tmp_path):
    save(made("coordinate"), tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="not the bytes that were saved"):
        load(tmp_path)


def test_tensors_of_another_design_are_refused(tmp_path):
    save(made("coordinate"), tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())["design"]
    edited(tmp_path, design=told | {"hidden": 5})
    with pytest.raises(ValueError, match=r"tensors must be those of the design; got \(16, .*not \(20, "):
        load(tmp_path)


def test_info_is_words(tmp_path):
    for info in ({"tasks": TASKS}, {"loss": inf}):
        with pytest.raises(ValueError, match="info must be of words, finite numbers, lists and dicts"):
            save(made("coordinate"), tmp_path, info=info)
    assert not list(tmp_path.iterdir())


def test_nothing_is_unpickled(tmp_path):
    """A file that would run code when unpickled is refused."""
    save(made("coordinate"), tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    content = pickle.dumps(print)
    file.write_bytes(content)
    edited(tmp_path, sha256=_save.hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match="must be as it was saved"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["coordinate", "whole"])
@pytest.mark.parametrize("validate", [0, 1])
def test_the_checkpoint_of_a_training_holds_what_was_trained(name, validate, tmp_path):
    meta = made(name)
    recipe = Recipe(runs=3, batch=2, horizon=4, unroll=2, limit=inf, validate=validate, validation=2)
    trained = meta_train(meta, TASKS, recipe, out=tmp_path, save_every=1)
    found = load_checkpoint(tmp_path)
    assert found.design == meta.design and same(found, trained.meta)
    assert found.info["runs"] == 3 and "TwoLayerRegression(size=3" in found.info["tasks"]
    assert found.info["recipe"]["horizon"] == 4
    assert same(load(save(found, tmp_path)), trained.meta)
    assert load(tmp_path).info == found.info


def test_checkpoints_that_are_none_are_refused(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="the checkpoint must be one that training wrote; got .*train again"):
        load_checkpoint(tmp_path)
