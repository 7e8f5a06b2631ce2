"""Three ways to vary the conserved quantity: with the scale of the weights, at one function, and not at all."""

from collections.abc import Mapping, Sequence
from typing import Any

from isoloss.reproduce._figure import logarithmic, shade
from isoloss.reproduce._finding import Finding
from isoloss.reproduce.experiments._shared_two_layers import rank_correlation

DESIGNS = {
    "published": ("o", "standard deviation"),
    "orbit": ("s", "same function"),
    "level": ("^", "same Q"),
}
"""The papers', which varies the scale and with it Q; moves on one orbit; all scales moved to one Q: marker, label."""

SURE = 0.01
"""The p-value below which a rank correlation counts."""


def scale_or_quantity(statement: str, points: Sequence[Mapping[str, Any]], key: str) -> Finding:
    """Does the sum of the squared weights, `size`, tell a number better than `quantity` does, over all designs?"""
    values = [p[key] for p in points]
    by_size, by_quantity = (
        rank_correlation([p[k] for p in points], values)["rho"] for k in ("size", "quantity")
    )
    if by_size is None or by_quantity is None:
        return Finding(statement, None, "all are the same", "control")
    evidence = f"rank correlation {by_size:.2f} with the sum of squares, {by_quantity:.2f} with Q"
    return Finding(statement, abs(by_size) > abs(by_quantity), evidence, "control")


def panel_designs(axis, points: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> None:
    """A number against Q, a marker per design; what is None is left out."""
    for i, (design, (marker, label)) in enumerate(DESIGNS.items()):
        told = [(p["quantity"], p[key]) for p in points[design] if p[key] is not None]
        if told:
            x, y = zip(*told, strict=True)
            axis.plot(x, y, marker, color=shade(i, len(DESIGNS)), markersize=4, alpha=0.8, label=label)
    axis.set_xscale("symlog", linthresh=10)
    logarithmic(axis, y=True)
    axis.set_xlabel("Q")
