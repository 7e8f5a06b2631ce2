"""Checkpoints: training continues to the same bits, or says why it does not."""

import pytest
import torch

from discovery.losses import SCALAR, TANH
from isoloss.discovery import Recipe, discover, normal
from isoloss.discovery._training import CHECKPOINT

SHORT = Recipe(steps=30, batch=16, validate=10, validation=32)
SMALL = {"width": 8}


def same(one, two):
    """To the last bit."""
    a, b = one.action.state_dict(), two.action.state_dict()
    equal = a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    return equal and torch.equal(one.generators, two.generators) and one.grade == two.grade


class StopError(Exception):
    pass


def stop_at(step):
    def watch(record):
        if record.step == step:
            raise StopError

    return watch


@pytest.mark.parametrize("samples", [None, 50])
@pytest.mark.parametrize("action", ["residual", "mlp", "linear"])
def test_what_is_interrupted_continues_to_the_same_bits(action, samples, tmp_path):
    recipe = Recipe(**vars(SHORT) | {"samples": samples})
    given = {"n_generators": 2, "action": action, "recipe": recipe}
    given["options"] = None if action == "linear" else SMALL
    whole = discover(*TANH, **given)
    with pytest.raises(StopError):
        discover(*TANH, **given, out=tmp_path, watch=stop_at(20))
    again = discover(*TANH, **given, out=tmp_path)
    assert same(whole, again) and whole.history == again.history
    # and what has ended is read
    watched = []
    assert same(whole, discover(*TANH, **given, out=tmp_path, watch=watched.append)) and not watched
    afresh = []
    assert same(whole, discover(*TANH, **given, out=tmp_path, resume=False, watch=afresh.append))
    assert [record.step for record in afresh] == [10, 20, 30]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"recipe": Recipe(**vars(SHORT) | {"lr": 0.1})}, "differs in recipe"),
        ({"n_generators": 1}, "differs in generators"),
        ({"action": "affine"}, "differs in action"),
        ({"loss": lambda w, x: 2.0 * TANH[0](w, x)}, "differs in loss"),
        (
            {"sample_params": lambda n: {k: 2 * t for k, t in TANH[1](n).items()}},
            "differs in loss, parameters drawn",
        ),
        ({"sample_data": normal(x=(2, 5), y=(1, 5))}, "differs in data, data drawn, loss"),
        ({"sample_params": lambda n: {k: t.double() for k, t in TANH[1](n).items()}}, "differs in dtype"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(changes, told, tmp_path):
    given = dict(zip(("loss", "sample_params", "sample_data"), TANH, strict=True))
    given |= {"n_generators": 2, "action": "linear", "recipe": SHORT, "out": tmp_path}
    discover(**given)
    with pytest.raises(
        ValueError, match=f"discover: a checkpoint continues the training that wrote it.*{told};"
    ):
        discover(**given | changes)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path):
    given = {"action": "linear", "recipe": SHORT, "out": tmp_path}
    discover(*SCALAR, **given)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-9], "empty": b"", "text": b"no checkpoint"}[damage])
    with pytest.raises(
        ValueError, match="discover: the checkpoint must be one that training wrote; got .*delete it"
    ):
        discover(*SCALAR, **given)


def test_a_checkpoint_without_its_tensors_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    given = {"action": "linear", "recipe": SHORT, "out": tmp_path}
    discover(*SCALAR, **given)
    path = tmp_path / CHECKPOINT
    with safe_open(str(path), framework="pt") as file:
        told = file.metadata()
    for tensors in (
        {"x": torch.ones(1)},
        {"best/h.entries": torch.ones(3), "learned/h.entries": torch.ones(3)},
    ):
        save_file(tensors, path, metadata=told)
        with pytest.raises(ValueError, match="discover: the checkpoint must be one that training wrote"):
            discover(*SCALAR, **given)
