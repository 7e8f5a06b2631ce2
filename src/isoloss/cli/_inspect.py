"""`isoloss inspect`: the symmetries of any module, from the command line."""

import dataclasses
import json
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor, nn

import isoloss.finding as finding
from isoloss.cli._inputs import make_inputs
from isoloss.cli._target import make_model
from isoloss.cli._usage import UsageError, one_line, usable
from isoloss.groups import Group


@dataclass(frozen=True)
class Inspect:
    """Print the symmetries of a module."""

    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """What to inspect: module:factory, path.py:factory, a call with literal arguments such as
    "torch.nn:LSTM(8, 16)", or hf:NAME for the default configuration of a Hugging Face model type with random
    weights, as in hf:gpt2 or hf:gpt2,n_layer=2."""
    input: tuple[str, ...] = ()
    """Shapes of the example inputs: "2,3,32,32" for floats, "int:1,16" for indices; NAME=SHAPE passes a
    keyword."""
    json: bool = False
    """Print JSON in place of the table."""
    certificate: bool = False
    """Compare the orbit's dimension with an upper bound from the Jacobian of the outputs; for small nets."""
    verify: Literal["sample", "full", "none"] = "sample"
    """Check a random element of every symmetry, or also that no slot can be dropped, or nothing."""
    train: bool = False
    """Inspect the module in training mode; it is put into eval mode otherwise."""
    seed: int = 0
    """Seed of the weights and of the inputs."""


def inspect(options: Inspect) -> None:
    """Find the symmetries and print them."""
    with torch.random.fork_rng(devices=[]), usable():
        torch.manual_seed(options.seed)
        model = make_model(options.target).train(options.train)
        inputs = make_inputs(options.input, model)
        _check_call(model, inputs, options)
        symmetries = finding.find(model, inputs, verify=False if options.verify == "none" else options.verify)
        proof = finding.certificate(model, inputs, symmetries) if options.certificate else None
    if options.json:
        told = {
            "target": options.target,
            "model": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "continuous_dimension": symmetries.dim,
            "symmetries": [{"name": s.name, "dim": s.dim} | _plain(s) for s in symmetries],
            "left_out": list(symmetries.notes),
        }
        print(json.dumps(told | ({"certificate": _plain(proof)} if proof is not None else {}), indent=2))
    else:
        print(symmetries.table)
        if proof is not None:
            print(f"\n{proof}")


def _check_call(model: nn.Module, inputs: tuple[Tensor, ...] | dict[str, Tensor], options: Inspect) -> None:
    """Run the model once, so that an input that does not fit is told from whatever else can go wrong."""
    try:
        with torch.no_grad():
            model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    except Exception as error:
        shown = " ".join(options.input) or "none"
        raise UsageError(
            f"inspect: {options.target} must run on the example inputs; "
            f"got {type(error).__name__}: {one_line(error)}; check --input (now {shown})."
        ) from error


def _plain(value: Any) -> Any:
    """A result as JSON can hold it: dataclasses by field, groups by name, fractions as text."""
    if isinstance(value, Group):
        return value.name
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Fraction) else value
