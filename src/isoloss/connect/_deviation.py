"""How far the chord of a curve of bounded curvature leaves the curve."""

from math import asin, inf, isfinite, pi, sin, sqrt

from isoloss._checks import is_size


def deviation_bound(curvature: float, chord: float, length: float | None = None) -> float:
    r"""Largest distance from a point of the chord to the curve, hence to the level set that holds the curve.

    .. math:: d = \frac{1}{\kappa} \Bigl( 1 - \sqrt{1 - (\kappa c / 2)^2} \Bigr), \qquad \ell \le \pi / \kappa

    Without the length of the curve this is Theorem 3.4.2 as published, which needs what it does not say: that the
    curve is no longer than half a circle of that curvature. Beyond, the chord may be short while the curve goes around
    (docs/connect.md has the counterexample). With the length it is a theorem, with the better of two bounds; longer
    curves get c / 2, the distance to the nearer end.

    Args:
        curvature: An upper bound of the curvature, kappa.
        chord: The distance c of the ends.
        length: The length of the curve, if it is known.

    Returns:
        The bound; infinite where the published formula has none (kappa c > 2).

    Raises:
        ValueError: If a number is negative, or the length is below the chord.

    References:
        Dissertation, Theorem 3.4.2, Eq. (3.8). Differs: its hypothesis on the length; proof in docs/connect.md.
    """
    for name, value in (("curvature", curvature), ("chord", chord), ("length", length)):
        if value is not None and not (is_size(value) and isfinite(value)):
            raise ValueError(
                f"deviation_bound: {name} must be a finite number that is not negative; got {value!r}; "
                "take the largest curvature along the curve, the distance of its ends and its length."
            )
    if length is None:
        half = curvature * chord / 2
        return _sagitta(curvature, chord) if half <= 1 else inf
    if length < chord * (1 - 1e-9):
        raise ValueError(
            f"deviation_bound: a curve is at least as long as its chord; got length {length:g} for chord {chord:g}; "
            "take more points to measure it."
        )
    ends = chord / 2
    if curvature * length > pi:
        return ends
    # By Schur's theorem kappa c / 2 <= 1 here but for rounding.
    arc = min(curvature * length / 2, asin(min(curvature * chord / 2, 1.0)))
    height = 0.0 if curvature == 0 else 2 * sin(arc / 2) ** 2 / curvature
    return min(height, ends)


def loss_bound(lipschitz: float, deviation: float) -> float:
    r"""Bound on the change of the loss on the chord, :math:`|L(w) - c| \le C_L d`.

    Args:
        lipschitz: A Lipschitz constant of the loss near the chord.
        deviation: Distance of the chord from the level set, such as `deviation_bound`.

    References:
        Dissertation, Theorem 3.4.2, Eq. (3.9).
    """
    if not is_size(lipschitz) or not is_size(deviation):
        raise ValueError(
            f"loss_bound: both numbers must not be negative; got {lipschitz!r} and {deviation!r}; "
            "the second is what deviation_bound returns."
        )
    return lipschitz * deviation


def _sagitta(curvature: float, chord: float) -> float:
    # 1 - sqrt(1 - x^2) = x^2 / (1 + sqrt(1 - x^2)), which does not cancel.
    x = curvature * chord / 2
    return curvature * chord**2 / 4 / (1 + sqrt(max(0.0, 1 - x * x)))
