"""Generators and group elements as matrices of colours, layer by layer, as the figures of Chapter 6 show them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from isoloss.reproduce.experiments._shared_architectures import ARCHITECTURES

MAP = "RdBu_r"
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def matrices(generators: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Generators and their exponentials, (k, m, m) each."""
    h = torch.tensor(generators, dtype=torch.float64)
    return h.numpy(), torch.linalg.matrix_exp(h).numpy()


def panel_generators(
    figure: Any, rows: Sequence[Any], generators: Sequence[Any], network: str, said: str
) -> None:
    """Generators in the first row of axes, exp(h) in the second, each row on one scale of colours.

    Args:
        figure: Of the axes, for the colour bars.
        rows: Two rows of axes, at least as many as there are generators.
        generators: (k, m, m).
        network: Whose parameters the rows and columns are, in the order of its layers.
        said: What they are.
    """
    h, g = matrices(generators)
    for axes, stack, word in zip(rows, (h, g), ("h{}", "exp h{}"), strict=True):
        size = np.abs(stack).max() or 1.0
        image = None
        for i, (axis, matrix) in enumerate(zip(axes, stack, strict=False)):
            image = axis.imshow(matrix, cmap=MAP, vmin=-size, vmax=size, interpolation="nearest")
            frame_layers(axis, network, labelled=i == 0)
            name = word.format(str(i + 1).translate(SUBSCRIPTS) if len(stack) > 1 else "")
            axis.set_title(f"{said}: {name}" if i == 0 else name, loc="left", fontsize=9)
        bar = figure.colorbar(image, ax=list(axes), fraction=0.04, aspect=12, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)


def frame_layers(axis: Any, network: str, labelled: bool = True) -> None:
    """Lines between the layers, and their names."""
    params = ARCHITECTURES[network].params
    ends = np.cumsum([torch.Size(shape).numel() for shape in params.values()])
    starts = np.concatenate([[0], ends[:-1]])
    for end in ends[:-1]:
        axis.axhline(end - 0.5, color="#444444", linewidth=0.5)
        axis.axvline(end - 0.5, color="#444444", linewidth=0.5)
    axis.grid(False)
    axis.spines[["top", "right"]].set_visible(True)
    middles = (starts + ends - 1) / 2
    names = [symbol(name) for name in params]
    axis.set_xticks(middles, names, fontsize=7)
    axis.set_yticks(middles, names if labelled else [""] * len(names), fontsize=7)
    axis.tick_params(length=0)


def symbol(name: str) -> str:
    """W1 as W₁, Q as W_Q."""
    return f"$W_{{{name.removeprefix('W')}}}$"


def hide(axes: Sequence[Any]) -> None:
    """Take away axes that show nothing."""
    for axis in axes:
        axis.set_axis_off()


def plain(axis: Any) -> None:
    """The look of `canvas`, for axes that were added to its figure."""
    axis.grid(True, color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(which="both", labelsize=7)
