"""What a test problem is: a function on flat vectors, its minimum, and a group that keeps its value."""

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from isoloss.groups import Group


@runtime_checkable
class Problem(Protocol):
    """A function whose level sets are known through a group action. A new one is a file here and a line in `PROBLEMS`.

    Points are flat vectors ``(*batch, size)``. Parameters of the problem may be batched too; their batch broadcasts
    against that of the points. Everything runs under ``torch.func``: a problem may be built inside ``vmap``.

    Attributes:
        name: For reports and the command line.
    """

    name: ClassVar[str]

    @property
    def size(self) -> int:
        """Number of variables."""
        ...

    @property
    def group(self) -> Group:
        """What acts: identity, inverse, composition and exponential are its methods."""
        ...

    @property
    def minimum(self) -> Tensor:
        """The least value, ``(*parameters)``."""
        ...

    @property
    def minimizer(self) -> Tensor:
        """A point where it is taken, ``(*parameters, size)``."""
        ...

    def __call__(self, w: Tensor) -> Tensor:
        """The value at every point: ``(*batch, size)`` to ``(*batch)``."""
        ...

    def act(self, g: Tensor, w: Tensor) -> Tensor:
        """Move points along their level sets: elements ``(*batch, *element_shape)``, points ``(*batch, size)``."""
        ...
