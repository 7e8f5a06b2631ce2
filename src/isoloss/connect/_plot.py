"""A picture of the loss along paths."""

from collections.abc import Mapping
from typing import Any

from isoloss.connect._barrier import Barrier, LossFunction, barrier
from isoloss.connect._parameters import Parameters
from isoloss.connect._path import Path


def plot_path(
    a: Parameters,
    b: Parameters,
    loss: LossFunction,
    path: str | Path | Mapping[str, str | Path] = "linear",
    n: int = 51,
    ax: Any = None,
    **options: Any,
) -> tuple[Any, Any]:
    """Draw the loss along a path between two points, or along several by label.

    Args:
        a: A model, or tensors by name.
        b: One of the same architecture.
        loss: As in `barrier`.
        path: As in `barrier`, or several of them by label.
        n: As in `barrier`.
        ax: Matplotlib axes to draw into; new ones if None.
        options: Further arguments of `barrier`.

    Returns:
        The figure and the axes.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    many = dict(path) if isinstance(path, Mapping) else {"": path}
    return plot_profiles({k: barrier(a, b, loss, p, n, **options) for k, p in many.items()}, ax)


def plot_profiles(profiles: Barrier | Mapping[str, Barrier], ax: Any = None) -> tuple[Any, Any]:
    """Draw what `barrier` or `profile` returned, one or several by label.

    Args:
        profiles: The profiles.
        ax: Matplotlib axes to draw into; new ones if None.

    Returns:
        The figure and the axes.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If there is nothing to draw.
    """
    many = {"": profiles} if isinstance(profiles, Barrier) else dict(profiles)
    if not many or not all(isinstance(p, Barrier) for p in many.values()):
        raise ValueError(
            "plot_profiles: profiles must be what connect.barrier returns, or a mapping of such by label; "
            f"got {type(profiles).__name__} of {len(many)}; call barrier(a, b, loss) first."
        )
    if ax is None:
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "plot_path: figures need matplotlib, which is not installed; pip install 'isoloss[connect]'."
            ) from error
        # Not through pyplot, whose figures live until they are closed.
        ax = Figure(figsize=(5, 3.5), layout="constrained").subplots()
    for label, one in many.items():
        ax.plot(one.t.tolist(), one.losses.tolist(), label=label or None)
    ax.set_xlabel("t")
    ax.set_ylabel("loss")
    if any(many):
        ax.legend()
    return ax.figure, ax
