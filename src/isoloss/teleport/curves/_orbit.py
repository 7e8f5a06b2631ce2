"""Curves along an exact symmetry."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.func import jvp

from isoloss.groups import ComplexScaling, GeneralLinear, Orthogonal, PositiveScaling
from isoloss.symmetry import Slot, Symmetry

Tensors = Mapping[str, Tensor]

LINEAR = (ComplexScaling, GeneralLinear, Orthogonal, PositiveScaling)


@dataclass(frozen=True)
class OrbitCurve:
    r"""The curve :math:`\exp(tM) \cdot w` of a symmetry that `find` has found.

    .. math:: \gamma^{(n)} = M^n w \;\text{(linear actions)}, \qquad
        \gamma'' = Dv\,[v], \quad \gamma''' = D(Dv\,[v])[v], \quad v(w) = M \cdot w \;\text{(others)}

    For GL between two layers, :math:`U' = -UM,\; U'' = UM^2` and :math:`V' = MV,\; V'' = M^2 V`.

    Attributes:
        symmetry: Of a continuous group.
        algebra: M, shape (*batch, *group.algebra_shape).

    References:
        Zhao et al. (2024), Eqs. (44), (45) and (49).
    """

    symmetry: Symmetry
    algebra: Tensor

    def at(self, t: Tensor | float, tensors: Tensors) -> dict[str, Tensor]:
        """The parameters that move, at time t."""
        return self.symmetry.act(self.symmetry.group.exp(t * self.algebra), tensors)

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        """The first derivatives at t = 0."""
        names, here = self.symmetry.parameters, dict(tensors)
        if _is_linear(self.symmetry):
            found = [{n: here[n] for n in names}]
            for _ in range(order):
                found.append(self._velocity(here | found[-1]))
            return found[1:]
        field, found = self._velocity, []
        for _ in range(order):
            found.append(field(here))
            field = self._along(field)
        return found

    def _velocity(self, tensors: Tensors) -> dict[str, Tensor]:
        return self.symmetry.generator(self.algebra, tensors)

    def _along(self, field):
        """The derivative of a field along the velocity."""

        def derivative(tensors: Tensors) -> dict[str, Tensor]:
            names = self.symmetry.parameters

            def moved(x: Tensors) -> dict[str, Tensor]:
                return field({**tensors, **x})

            return jvp(moved, ({n: tensors[n] for n in names},), (self._velocity(tensors),))[1]

        return derivative


def _is_linear(symmetry: Symmetry) -> bool:
    """Is the velocity a linear function of what moves? Not if it is a shift, or passes through what moves as well."""
    slots = symmetry.slots
    return (
        isinstance(symmetry.group, LINEAR)
        and all(isinstance(slot, Slot) for slot in slots)
        and not set(symmetry.reads) & set(symmetry.parameters)
    )
