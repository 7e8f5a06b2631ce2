"""extend: a symmetry of a subnetwork is one of the whole network."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from isoloss.discovery._symmetry import DiscoveredSymmetry
from isoloss.discovery.extension._field import extended_symmetry
from isoloss.discovery.extension._place import (
    check_fits,
    placed,
    places_below,
    places_given,
)
from isoloss.discovery.extension._trial import Trial
from isoloss.discovery.extension._watch import AsData, as_one
from isoloss.symmetry import Symmetry


def extend(
    symmetry: Symmetry,
    into: nn.Module,
    at: str | Mapping[str, Any],
    inputs: Any,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    data_at: str | None = None,
    as_data: AsData = as_one,
    tolerance: float | None = None,
    seed: int = 0,
) -> Symmetry:
    r"""Make a symmetry of a small network one of a large network that contains it.

    .. math:: L(\theta, X) = j(\theta_1, f(\theta_2, h(\theta_1, X)), X)
        \;\Rightarrow\; a'_X(g, (\theta_1, \theta_2)) = (\theta_1,\; a_{h(\theta_1, X)}(g, \theta_2))

    f is a submodule, or what a part of some layers computes; h comes before it, j after and beside it. An exact
    symmetry keeps its group and acts on the parameters where they lie in the large network. A data-dependent one is
    evaluated on what f reads when the large network runs on X.

    Everything is checked on a float64 copy, in this order: names and shapes fit; the model uses what moves through f
    only, and what f reads does not depend on it (Figure 6.2 c is refused here, or by the numbers); f runs once, if
    the symmetry is data-dependent; random elements leave the outputs of the whole model as they are, to find's
    tolerance of 1e-10 or ten times the stated error of an approximate symmetry; and they do move parameters that
    the outputs depend on.

    Args:
        symmetry: Of the small network: an exact one, or a discovered one.
        into: The large network; it is not touched.
        at: The dotted path of the submodule that is the small network. Or a mapping from the names of its parameters
            to where they lie in the large one: a name, a tuple of a name and an index of slices, or of a name and a
            `Block`. The first h rows of V, and the first h columns of U, are a narrow network inside a wide one.
        inputs: Of the large network, as for `find`. For a data-dependent symmetry they are the batch X, for which it
            holds; `at(data)` of the result takes another.
        loss: Scalar function of the outputs that is to stay, where the outputs themselves need not.
        data_at: Path of the submodule whose inputs are the data of the small network; by default `at` itself, or the
            whole model if `at` is a mapping.
        as_data: Makes data, as the symmetry knows them, of the inputs of that submodule; by default a single input as
            it is, several as a tuple or a dict.
        tolerance: The stated error of an approximate symmetry, if it has none or another than on the small network.
        seed: Of the points and elements that are tried.

    Returns:
        The symmetry of the large network, of the same kind, with the error that was measured there.

    Raises:
        TypeError: If symmetry is none, or at is neither a path nor a mapping.
        ValueError: If one of the checks fails; the message says which.

    References:
        Dissertation, Prop. 6.4.1, Cor. 6.4.2 (mapping) and 6.4.3 (path). Differs: the proof of Cor. 6.4.2 (D.4) puts
        the part without the symmetry in the place of f; it holds with the roles exchanged. What f returns must be
        kept, not a loss of it.
    """
    if not isinstance(symmetry, Symmetry):
        raise TypeError(
            f"extend: takes one symmetry at a time; got {type(symmetry).__name__}; "
            "write [extend(s, ...) for s in symmetries]."
        )
    if not isinstance(at, str | Mapping):
        raise TypeError(
            f"extend: at must be a path or a mapping of names; got {type(at).__name__}; "
            "see model.named_modules() for paths."
        )
    extended = unchecked(symmetry, into, at, inputs, data_at=data_at, as_data=as_data)
    path = _data_path(at, data_at)
    where = (at or "the model") if isinstance(at, str) else "the subnetwork"
    wander = not isinstance(symmetry, DiscoveredSymmetry)
    trial = Trial(into, inputs, where, loss, seed, wander, extended.parameters)
    _check_structure(trial, symmetry, extended, at, path)
    error = trial.error(extended, _stated(symmetry, tolerance))
    trial.check_moves(extended)
    return replace(extended, error=error)


def unchecked(
    symmetry: Symmetry,
    into: nn.Module,
    at: str | Mapping[str, Any],
    inputs: Any,
    *,
    data_at: str | None = None,
    as_data: AsData = as_one,
) -> Symmetry:
    """What `extend` returns if everything holds, without asking more than whether names and shapes fit."""
    places = places_below(into, at) if isinstance(at, str) else places_given(into, at)
    check_fits(symmetry, (*symmetry.parameters, *symmetry.reads), places)
    if not isinstance(symmetry, DiscoveredSymmetry):
        return replace(symmetry, slots=placed(symmetry, places))
    return extended_symmetry(symmetry, places, into, _data_path(at, data_at), as_data, inputs)


def _data_path(at: str | Mapping[str, Any], data_at: str | None) -> str:
    """The submodule whose inputs are the data."""
    if data_at is not None:
        return data_at
    return at if isinstance(at, str) else ""


def _check_structure(
    trial: Trial, symmetry: Symmetry, extended: Symmetry, at: str | Mapping[str, Any], path: str
) -> None:
    dependent = isinstance(symmetry, DiscoveredSymmetry) and symmetry.data is not None
    times = trial.check_used_through(at, extended.parameters) if isinstance(at, str) else 1
    if dependent and path != at:
        times = max(times, trial.check_inputs_fixed(path, extended.parameters))
    if dependent and times != 1:
        raise ValueError(
            f"extend: a data-dependent symmetry needs a subnetwork that runs once in a pass; got {times} calls of "
            f"{path or at}, each with inputs of its own; only exact symmetries hold for all of them."
        )


def _stated(symmetry: Symmetry, tolerance: float | None) -> float | None:
    """The error that an approximate symmetry claims; None for those that `find` verifies."""
    if not isinstance(symmetry, DiscoveredSymmetry):
        return None
    stated = tolerance if tolerance is not None else 0.0 if symmetry.exact else symmetry.error
    if stated is None:
        raise ValueError(
            "extend: an approximate symmetry must state its error; got None; measure it, or pass tolerance=."
        )
    return stated
