"""Example inputs from their shapes, as written on the command line."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

SPECIFICATION = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<kind>float|int)(?P<high>\d+)?:)?(?P<shape>\d+(?:,\d+)*,?)"
)


def make_inputs(specifications: Sequence[str], model: nn.Module) -> tuple[Tensor, ...] | dict[str, Tensor]:
    """Random inputs of the shapes given.

    Args:
        specifications: "2,3,32,32" is normal noise; "int:1,16" holds indices below the size of the model's
            smallest embedding, "int50:1,16" below 50; "mask=float:1,16" is passed by keyword.
        model: Where the embeddings are looked up.

    Returns:
        Positional inputs as a tuple, or keyword inputs as a dict.

    Raises:
        ValueError: If one cannot be read, or some have names and some do not.

    Example:
        >>> a, b = make_inputs(["2,3", "int9:4"], nn.Identity())
        >>> a.shape, a.dtype, b.shape, b.dtype
        (torch.Size([2, 3]), torch.float32, torch.Size([4]), torch.int64)
    """
    named = [_make_input(specification, model) for specification in specifications]
    if not named:
        raise ValueError(
            'inspect: an example input is needed to trace the model; got none; give --input "2,3,32,32".'
        )
    if all(name is None for name, _ in named):
        return tuple(tensor for _, tensor in named)
    if any(name is None for name, _ in named):
        raise ValueError(f"inspect: inputs must have names all or none; got {' '.join(specifications)}.")
    return {str(name): tensor for name, tensor in named}


def _make_input(specification: str, model: nn.Module) -> tuple[str | None, Tensor]:
    match = SPECIFICATION.fullmatch(specification.replace(" ", ""))
    if match is None:
        raise ValueError(
            f"inspect: an input is a shape such as 2,3,32,32 or int:1,16 or name=2,8; got {specification!r}."
        )
    shape = [int(n) for n in match["shape"].rstrip(",").split(",")]
    if match["kind"] != "int":
        return match["name"], torch.randn(shape)
    high = int(match["high"]) if match["high"] else _vocabulary(model)
    return match["name"], torch.randint(high, shape)


def _vocabulary(model: nn.Module) -> int:
    """A bound that is safe for whichever embedding reads the indices."""
    reader = getattr(model, "get_input_embeddings", lambda: None)()
    if isinstance(reader, nn.Embedding):
        return reader.num_embeddings
    return min((m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)), default=2)
