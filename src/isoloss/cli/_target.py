"""The module that a target on the command line names."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from isoloss.cli._usage import one_line


def make_model(target: str) -> nn.Module:
    """The module that a target names.

    Args:
        target: "package.module:factory" or "path.py:factory", where factory is a module, or is called to make
            one, with literal arguments if there are any: "torch.nn:LSTM(8, 16)"; or "hf:NAME,key=value,..."
            for a Hugging Face model type with random weights.

    Raises:
        ValueError: If there is no such factory, or it fails.
        TypeError: If what it makes is no module.
        ImportError: If the Python module cannot be imported, or transformers is absent.

    Example:
        >>> make_model("torch.nn:Linear(3, 4, bias=False)")
        Linear(in_features=3, out_features=4, bias=False)
    """
    source, separator, expression = target.partition(":")
    if not separator or not source or not expression:
        raise ValueError(
            f"inspect: the target must be module:factory, path.py:factory or hf:NAME; got {target!r}."
        )
    if source == "hf":
        return _from_transformers(expression)
    name, positional, keywords = _call(expression)
    made = _find(_load(source), name, source)
    if not isinstance(made, nn.Module):
        try:
            made = made(*positional, **keywords)
        except Exception as error:
            raise ValueError(
                f"inspect: {target} must make a module; it raised {type(error).__name__}: {one_line(error)}."
            ) from error
    if not isinstance(made, nn.Module):
        raise TypeError(f"inspect: {target} must make a torch.nn.Module; got {type(made).__name__}.")
    return made


def _call(expression: str) -> tuple[str, list[Any], dict[str, Any]]:
    try:
        node = ast.parse(expression, mode="eval").body
        if isinstance(node, ast.Call):
            keywords = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
            return ast.unparse(node.func), [ast.literal_eval(a) for a in node.args], keywords
        return ast.unparse(node), [], {}
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            "inspect: a factory is a name, or a call with literal arguments such as LSTM(8, 16); "
            f"got {expression!r}."
        ) from error


def _load(source: str) -> ModuleType:
    path = Path(source)
    if source.endswith(".py"):
        if not path.is_file():
            raise ValueError(f"inspect: {source} must be a Python file; there is none.")
        return _import_file(path)
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules of the current folder can be named
    try:
        return importlib.import_module(source)
    except Exception as error:
        raise ImportError(
            f"inspect: {source} must be importable; it raised {type(error).__name__}: {one_line(error)}."
        ) from error


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a name that ends in .py has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickle look their module up
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise ValueError(
            f"inspect: {path} must run; it raised {type(error).__name__}: {one_line(error)}."
        ) from error
    return module


def _find(module: ModuleType, name: str, source: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"inspect: {source} has no {name}; look for a spelling mistake.")
        found = getattr(found, part)
    return found


def _from_transformers(expression: str) -> nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise ImportError("inspect: hf: targets need transformers: pip install 'isoloss[hf]'.") from error
    name, *settings = expression.split(",")
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ValueError(f"inspect: a setting of {name} is key=value; got {setting!r}.")
        changes[key.strip()] = _literal(value.strip())
    try:
        config = transformers.AutoConfig.for_model(name, **changes)
    except ValueError as error:
        raise ValueError(
            f"inspect: hf:{name} is no model type that transformers knows, such as hf:gpt2."
        ) from error
    config.use_cache = False  # caches of keys and values are outputs too, and hide what attention leaves free
    known = type(config) in transformers.AutoModelForCausalLM._model_mapping
    auto = transformers.AutoModelForCausalLM if known else transformers.AutoModel
    try:
        return auto.from_config(config)
    except Exception as error:
        raise ValueError(
            f"inspect: hf:{expression} must build; it raised {type(error).__name__}: {one_line(error)}."
        ) from error


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
