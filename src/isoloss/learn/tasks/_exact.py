"""The exact symmetries of a module, as actions."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from isoloss.finding import find
from isoloss.groups import Translation
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Exact
from isoloss.symmetry import Symmetry


def exact_actions(
    module: nn.Module, inputs: Tensor, units: Callable[[Tensors, Tensors], Tensor] | None = None
) -> tuple[Exact, ...]:
    """What `isoloss.find` finds in a module that can teleport it; see `as_actions`.

    Args:
        module: In the mode in which it is trained.
        inputs: An example.
        units: See `Exact`.

    Raises:
        ValueError: If the module cannot run on the inputs, or branches on data.
    """
    return as_actions(find(module, inputs, statistics="hold", frozen="hold"), units)


def as_actions(
    symmetries: Iterable[Symmetry], units: Callable[[Tensors, Tensors], Tensor] | None = None
) -> tuple[Exact, ...]:
    """Those symmetries that can teleport an optimizee.

    Left out are discrete groups, symmetries up to the eps of a norm, and translations of weights that nothing but
    themselves decides: the gradient is the same all along those.

    Args:
        symmetries: What was found.
        units: See `Exact`.
    """
    return tuple(Exact(s, units) for s in symmetries if s.exact and s.dim and not _is_idle(s))


def _is_idle(symmetry: Symmetry) -> bool:
    return isinstance(symmetry.group, Translation) and symmetry.linear
