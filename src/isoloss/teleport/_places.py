"""Where a model has a parameter: tied ones have several places, and modules used under two names are one."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

Places = Mapping[str, Sequence[str]]


def places(model: nn.Module) -> Places:
    """For every parameter and buffer, by its first name, all names of places where it is; each module counts once.

    For `torch.func.functional_call(..., tie_weights=False)`: left to tie weights by itself, torch 2.13 swaps a module
    that is used under two names twice, and in the end puts back the wrong tensor.
    """
    names = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
    found: dict[str, list[str]] = {}
    for path, module in model.named_modules():
        for key, t in (*module._parameters.items(), *module._buffers.items()):
            if t is not None:
                found.setdefault(names[id(t)], []).append(f"{path}.{key}" if path else key)
    return found


def everywhere(tensors: Mapping[str, Tensor], places: Places) -> dict[str, Tensor]:
    """The tensors, each in all of its places."""
    return {place: t for n, t in tensors.items() for place in places.get(n, (n,))}
