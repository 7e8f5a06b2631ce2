"""A discovered symmetry: vector fields along which the loss on some data hardly changes, as a Symmetry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap
from torch.utils import _pytree as pytree

from isoloss._checks import is_whole, takes
from isoloss.discovery._fingerprint import fingerprint
from isoloss.discovery._flow import flow, trajectory
from isoloss.discovery._invariance import Invariance, Loss, compared
from isoloss.groups import Translation
from isoloss.symmetry import Shift, Slot, Symmetry, named_tensors, write_atomically

Tensors = Mapping[str, Tensor]
Field = Callable[[Tensor, dict[str, Tensor], Any], Tensors]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DiscoveredSymmetry(Symmetry):
    r"""Coefficients c in R^k, which act by the flow of the field that they combine, for unit time.

    .. math:: c \cdot \theta = \gamma(1), \qquad \dot\gamma = \sum_i c_i\, v_i(\gamma; X), \quad \gamma(0) = \theta

    The loss on the data X is kept as far as the fields are tangent to its level sets; `measured` tells how far. On
    other data it may change. The flow is integrated by `steps` steps of the fourth order (see `flow`): to that order

    - 0 moves nothing, and -c undoes c;
    - s c after t c is (s + t) c, for one c is a one-parameter group;
    - c after c' is c + c' only where the fields commute, which nothing ensures. Elements then are names of
      transformations, of which the group law holds along each line only. What composes elements (an ascent over
      several of its steps) still ends at an element, hence near the level set.

    It acts on all its parameters together, not by slots (`whole`). Gradients are moved by the inverse flow's
    derivative; what an optimizer knows of squared gradients is kept, or reset.

    Attributes:
        group: `Translation(k)`.
        field: The velocity, a function of c, the parameters by name and the data; linear in c. It returns a tensor for
            each of `names`, and has to run under `torch.func` (vjp, jvp, vmap). It sees the parameters in the widest
            of their dtypes, float32 at least, and c and the data's real numbers in the same.
        names: The parameters that move.
        given: Parameters that the field reads, but does not move.
        data: X, a tree of tensors as the field takes it; or a function without arguments that returns it, for
            training on minibatches.
        steps: Of the integrator.
        error: The measured `Invariance.change`.
        invariance: All of that measurement.

    Raises:
        ValueError: If an attribute is not what is said here.

    References:
        Dissertation, section 6.3 and section 6.5.4. Differs: the action is the flow of the infinitesimal action, not
        the learned map at exp(h), which is no action for larger h.
    """

    slots: tuple[Slot | Shift, ...] = ()
    family: str = "discovered"
    exact: bool = False
    field: Field
    names: tuple[str, ...]
    given: tuple[str, ...] = ()
    data: Any = None
    steps: int = 16
    invariance: Invariance | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.group, Translation) or self.batch or self.slots:
            _refuse(
                "its elements must be k coefficients, Translation(k) without batch and slots",
                f"{self.name} with {len(self.slots)} slots",
                "give a number of fields, and the fields",
            )
        if not callable(self.field) or not takes(self.field, 3):
            got = "a function of others" if callable(self.field) else type(self.field).__name__
            _refuse(
                "field must be a function of c, parameters and data", got, "return a velocity for each name"
            )
        names = (*self.names, *self.given)
        if isinstance(self.names, str) or not self.names or len(set(names)) != len(names):
            _refuse("names must be parameters that move, each once", repr(self.names), 'such as ("weight",)')
        if not is_whole(self.steps, least=1):
            _refuse("steps must be a positive whole number", repr(self.steps), "16 is the default")

    def __eq__(self, other: object) -> bool:
        return self is other  # there is no telling whether two fields are the same

    def __hash__(self) -> int:
        return id(self)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that move."""
        return tuple(self.names)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the parameters that the field reads, but does not move."""
        return tuple(self.given)

    @property
    def linear(self) -> bool:
        """No: the derivative of a flow differs from point to point."""
        return False

    @property
    def whole(self) -> bool:
        """Yes: all that moves moves by one field."""
        return True

    @property
    def dimensionless(self) -> bool:
        """Yes: a coefficient multiplies a field, and that has the unit of a parameter."""
        return True

    @property
    def holds(self) -> str:
        """For a table."""
        return "exactly" if self.exact else "approximately"

    def signature(self) -> list[Any]:
        """The group and names, and hashes of what the field and the data hold; data of the moment are left out."""
        data = "of the moment" if _is_function(self.data) else fingerprint(self.data)
        return [self.name, list(self.names), list(self.given), self.steps, fingerprint(self.field), data]

    def at(self, data: Any) -> "DiscoveredSymmetry":
        """The same fields on other data, yet to be measured there."""
        return replace(self, data=data, error=None, invariance=None)

    def act(self, g: Tensor, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors that the flow moves, as new tensors.

        Args:
            g: c, shape (k,).
            tensors: Named parameters and buffers; at least `parameters` and `reads`.

        Raises:
            ValueError: If the field does not give the velocities of what moves.
        """
        velocity, start = self._velocity(g, tensors)
        return {n: x.to(tensors[n].dtype) for n, x in flow(velocity, start, self.steps).items()}

    def act_(self, g: Tensor, tensors: Tensors) -> None:
        """Move the tensors themselves, all or none.

        Raises:
            ValueError: If a moved tensor would not be finite.
        """
        with torch.no_grad():
            moved = self.act(g, tensors)
        write_atomically(((n, tensors[n], new) for n, new in moved.items()), where="DiscoveredSymmetry.act_")

    def path(self, g: Tensor, tensors: Tensors) -> dict[str, Tensor]:
        """The points of the flow after each step of the integrator, (steps + 1, *shape) by name; the first is here."""
        velocity, start = self._velocity(g, tensors)
        return {n: x.to(tensors[n].dtype) for n, x in trajectory(velocity, start, self.steps).items()}

    def generator(self, a: Tensor, tensors: Tensors) -> dict[str, Tensor]:
        """The field that a combines, at the tensors."""
        velocity, start = self._velocity(a, tensors)
        return {n: v.to(tensors[n].dtype) for n, v in velocity(start).items()}

    def moment(self, gradients: Tensors, tensors: Tensors) -> Tensor:
        """The slopes of a function along the fields, (k,): the adjoint of `generator`; see `Symmetry.moment`."""
        start = self._start(tensors)
        like = next(iter(start.values()))
        c = torch.zeros(self.group.n, dtype=like.dtype, device=like.device)
        back = vjp(lambda c: self._velocity(c, tensors)[0](start), c)[1]
        return back({n: _or_zeros(gradients, n, x) for n, x in start.items()})[0]

    def transport(self, g: Tensor, gradients: Tensors, tensors: Tensors | None = None) -> dict[str, Tensor]:
        r"""Gradients at the moved point from those here: those of the loss on X, as far as the flow keeps that.

        .. math:: \nabla L(c \cdot \theta) = D\Phi_{-c}(c \cdot \theta)^T\, \nabla L(\theta)

        Args:
            g: c, shape (k,).
            gradients: Gradients by name; those absent count as zero, and stay absent.
            tensors: The parameters before the move.

        Returns:
            New gradients for those given that change.

        Raises:
            ValueError: If tensors is missing.
        """
        if tensors is None:
            raise ValueError(
                f"Symmetry.transport: {self.name} moves its parameters by a flow; got no tensors; "
                "pass the parameters before the move."
            )
        moved = dict(tensors) | self.act(g, tensors)
        there, fixed = self._start(moved), {n: moved[n] for n in self.given}

        def back(there: dict[str, Tensor], fixed: dict[str, Tensor]) -> dict[str, Tensor]:
            velocity, start = self._velocity(-g, fixed | there)
            return flow(velocity, start, self.steps)

        pull = vjp(back, there, fixed)[1]
        pulled, passed = pull({n: _or_zeros(gradients, n, x) for n, x in there.items()})
        found = {n: pulled[n] for n in self.names if n in gradients}
        found |= {n: gradients[n] + passed[n] for n in self.given if n in gradients}
        return {n: y.to(gradients[n].dtype) for n, y in found.items()}

    def charged(self, power: int) -> NoReturn:
        """Refused: no representation of R^k acts on gradients or their squares.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"Symmetry.charged: only slots have charges; got {self.name} ({self.family}), which acts as a whole; "
            "move gradients by transport, and keep or reset their squares."
        )

    def measured(
        self,
        loss: Loss,
        at: nn.Module | Tensors,
        *,
        scale: float = 0.5,
        n: int = 16,
        data: Any = None,
        generator: torch.Generator | None = None,
    ) -> "DiscoveredSymmetry":
        """The same, with `error` and `invariance` as they are at a point.

        Args:
            loss: Of the parameters by name and the data: one number, or one per sample, (d,).
            at: The point: a model, or parameters by name; those of lower precision are widened to float32.
            scale: Standard deviation of the random coefficients.
            n: How many elements are drawn.
            data: Other data to measure the loss on than those of the fields.
            generator: Source of the random numbers.

        Raises:
            ValueError: If n or scale is no such number, or the loss is neither one number nor one per sample.
        """
        if not is_whole(n, least=1):
            raise ValueError(f"measured: n must be a positive whole number; got {n!r}; 16 is the default.")
        named = named_tensors(at) if isinstance(at, nn.Module) else at
        point = {name: _wide(x.detach()) for name, x in named.items()}
        like = next(iter(self._start(point).values()))
        g = torch.stack([self.sample(scale, generator, dtype=torch.float64) for _ in range(n)]).to(like)
        with torch.no_grad():
            curves = vmap(lambda g: self.path(g, point))(g)
            on = self._data(like) if data is None else data
            found = compared(loss, point, curves, on, generator)
        return replace(self, error=found.change, invariance=found)

    def _data(self, like: Tensor) -> Any:
        data = self.data() if _is_function(self.data) else self.data
        return pytree.tree_map(lambda x: _beside(x, like), data)

    def _start(self, tensors: Tensors) -> dict[str, Tensor]:
        """What moves, in the dtype to compute in."""
        wide = torch.float32
        for n in self.names:
            wide = torch.promote_types(wide, tensors[n].dtype)
        return {n: tensors[n].to(wide) for n in self.names}

    def _velocity(
        self, c: Tensor, tensors: Tensors
    ) -> tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], dict[str, Tensor]]:
        """The field as a function of what moves, and what moves."""
        start = self._start(tensors)
        like = next(iter(start.values()))
        c, data = c.to(like), self._data(like)
        fixed = {n: tensors[n].to(like.dtype) for n in self.given}

        def velocity(moving: dict[str, Tensor]) -> dict[str, Tensor]:
            found = self.field(c, fixed | moving, data)
            for n, x in moving.items():
                if n not in found or found[n].shape != x.shape:
                    got = f"shape {tuple(found[n].shape)}" if n in found else "none"
                    _refuse(
                        f"the field must give a velocity for {n}, of shape {tuple(x.shape)}",
                        got,
                        "return a tensor for each of names",
                    )
            return {n: found[n] for n in moving}

        return velocity, start


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32)) if x.is_floating_point() else x


def _or_zeros(gradients: Tensors, name: str, like: Tensor) -> Tensor:
    return gradients[name].to(like) if name in gradients else torch.zeros_like(like)


def _is_function(data: Any) -> bool:
    return callable(data) and not isinstance(data, Tensor)


def _beside(x: Any, like: Tensor) -> Any:
    if not isinstance(x, Tensor):
        return x
    return x.to(like) if x.is_floating_point() else x.to(like.device)


def _refuse(rule: str, got: str, fix: str) -> NoReturn:
    raise ValueError(f"DiscoveredSymmetry: {rule}; got {got}; {fix}.")
