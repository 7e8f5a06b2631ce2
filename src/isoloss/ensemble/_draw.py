"""Random group elements of a given size, near the identity."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import torch
from torch import Tensor

from isoloss._checks import is_size
from isoloss.groups import GeneralLinear, Group
from isoloss.symmetry import Symmetry

Form = Literal["linear", "exp"]
WHERE = "orbit_ensemble"


@dataclass(frozen=True)
class Draw:
    r"""How elements are drawn: :math:`g = 1 + \varepsilon M` or :math:`g = \exp(\varepsilon M)`, M Gaussian.

    Matrices M of width h have entries of variance 1/h, so that their singular values lie between 0 and about 2
    whatever the width, and :math:`\varepsilon` means the same for every layer. Rotations and numbers one by one are
    those of `Group.sample`.

    Attributes:
        epsilon: The size.
        form: "linear" for :math:`1 + \varepsilon M`, or what stands in for it in a group that it leads out of (the
            Cayley transform for rotations; translations and phases move by their exponential), "exp" for
            :math:`\exp(\varepsilon M)`, which always lies in the group.
        generator: Source of the random numbers; the global one if None.

    References:
        Dissertation, section 2.9, which leaves the distribution of M open.
    """

    epsilon: float
    form: Form = "linear"
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not is_size(self.epsilon) or not isfinite(self.epsilon):
            raise ValueError(
                f"{WHERE}: epsilon must be a finite number that is not negative; got {self.epsilon!r}; "
                "it is the size of g - 1, 0.1 by default."
            )
        if self.form not in ("linear", "exp"):
            raise ValueError(f"{WHERE}: form must be 'linear' or 'exp'; got {self.form!r}.")

    def element(self, symmetry: Symmetry, dtype: torch.dtype) -> Tensor:
        """A random element of a symmetry; of a discrete group a uniform one, for it has no small ones.

        Raises:
            ValueError: If 1 + epsilon M is none of the group.
        """
        return self._of(symmetry.group, symmetry.batch, dtype)

    def matrix(self, width: int) -> Tensor:
        """A random element of GL(width), float64, on the CPU.

        Raises:
            ValueError: If 1 + epsilon M is singular.
        """
        return self._of(GeneralLinear(width), (), torch.float64)

    def normal(self, *shape: int) -> Tensor:
        """Independent normal numbers, float64, on the CPU."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64, device=self._device).cpu()

    def order(self, n: int) -> Tensor:
        """A random permutation of n indices, on the CPU."""
        return torch.randperm(n, generator=self.generator, device=self._device).cpu()

    @property
    def _device(self) -> torch.device:
        return self.generator.device if self.generator else torch.device("cpu")

    def _of(self, group: Group, batch: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if group.dim == 0 or self.form == "exp":
            return group.sample(batch, scale=self.epsilon, generator=self.generator, dtype=dtype)
        g = group.retract((self.epsilon * group._draw(batch, self.generator)).cpu()).to(dtype)
        if not group.contains(g):
            raise ValueError(
                f"{WHERE}: 1 + epsilon M must lie in {group.name}; got epsilon {self.epsilon:g}, which led out of it; "
                "choose a smaller one, or form='exp'."
            )
        return g
