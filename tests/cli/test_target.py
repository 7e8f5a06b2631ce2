"""What a target names, and what is said if it names nothing."""

import sys

import pytest
from torch import nn

from isoloss.cli._target import make_model

SOURCE = """
from dataclasses import dataclass
from torch import nn
import beside_it

@dataclass
class Sizes:
    n: int = 4

def net(width=5, deep=False):
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, Sizes().n))

class Zoo:
    small = nn.Linear(2, beside_it.N)

def broken():
    raise RuntimeError("no\\nluck")

number = 3
def numeral():
    return number
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "beside_it.py").write_text("N = 6")
    path = tmp_path / "some_nets.py"
    path.write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield path
    for name in ("some_nets", "beside_it"):
        sys.modules.pop(name, None)


def test_function_of_a_file(file):
    assert make_model(f"{file}:net")[1].out_features == 4


def test_call_with_literals(file):
    assert make_model(f"{file}:net(7, deep=True)")[0].out_features == 7
    assert isinstance(make_model("torch.nn:LSTM(8, 16)"), nn.LSTM)


def test_module_that_is_already_made(file):
    assert make_model(f"{file}:Zoo.small").out_features == 6


def test_module_of_the_current_folder(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert make_model("some_nets:net")[0].in_features == 3


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("broken", ValueError, "must make a module; it raised RuntimeError: no luck"),
        ("numeral", TypeError, "must make a torch.nn.Module; got int"),
        ("number", ValueError, "must make a module; it raised TypeError: 'int' object is not callable"),
        ("nett", ValueError, "has no nett; look for a spelling mistake"),
        (
            "net(width=number)",
            ValueError,
            r"literal arguments such as LSTM\(8, 16\); got 'net\(width=number\)'",
        ),
        ("net(", ValueError, "a factory is a name, or a call"),
    ],
)
def test_factories_that_make_no_module_are_refused(file, name, error, message):
    with pytest.raises(error, match=message):
        make_model(f"{file}:{name}")


@pytest.mark.parametrize("target", ["net", "net.py", ":net", "net:", ""])
def test_targets_of_another_form_are_refused(target):
    with pytest.raises(
        ValueError, match="the target must be module:factory, path.py:factory or hf:NAME; got"
    ):
        make_model(target)


def test_files_that_are_missing_or_do_not_run_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none.py must be a Python file; there is none"):
        make_model(f"{tmp_path / 'none.py'}:net")
    (tmp_path / "wrong_net.py").write_text("1 / 0")
    with pytest.raises(
        ValueError, match="wrong_net.py must run; it raised ZeroDivisionError: division by zero"
    ):
        make_model(f"{tmp_path / 'wrong_net.py'}:net")
    assert "wrong_net" not in sys.modules


def test_modules_that_cannot_be_imported_are_refused():
    with pytest.raises(ImportError, match="no_such_module must be importable; it raised ModuleNotFoundError"):
        make_model("no_such_module:net")


def test_missing_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"hf: targets need transformers: pip install 'isoloss\[hf\]'"):
        make_model("hf:gpt2")


def test_hugging_face_type_with_settings():
    pytest.importorskip("transformers")
    model = make_model("hf:gpt2,n_layer=1,n_embd=8,n_head=2,vocab_size=16,activation_function=relu")
    assert type(model).__name__ == "GPT2LMHeadModel" and model.config.n_layer == 1
    assert model.config.activation_function == "relu" and not model.config.use_cache


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("hf:nope", "hf:nope is no model type that transformers knows, such as hf:gpt2"),
        ("hf:gpt2,n_layer", "a setting of gpt2 is key=value; got 'n_layer'"),
        ("hf:gpt2,n_embd=7,n_head=2", "must build; it raised ValueError"),
    ],
)
def test_hugging_face_targets_that_cannot_be_built_are_refused(target, message):
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=message):
        make_model(target)
