"""Eigenvalues of the Hessian: all of them, those at both ends, or how dense they lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.landscape._hessian import DENSE, Hessian, check_count


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues, ascending.

    Attributes:
        eigenvalues: All of them, or those of the largest modulus; shape (count,).
        size: Number of eigenvalues that there are.
        gradient_norm: Length of the gradient at the point.
        loss: The loss at the point.
    """

    eigenvalues: Tensor = field(repr=False)
    size: int
    gradient_norm: float
    loss: float

    @property
    def complete(self) -> bool:
        """Are these all?"""
        return len(self.eigenvalues) == self.size

    def zeros(self, tolerance: float | None = None) -> int:
        """How many are zero: at most the tolerance in modulus; see `zero_tolerance` for the default.

        Raises:
            ValueError: If the spectrum is not complete.
        """
        if not self.complete:
            raise ValueError(
                f"landscape.Spectrum: zeros are counted among all eigenvalues; got {len(self.eigenvalues)} of "
                f"{self.size}; call spectrum(...) without count."
            )
        bound = zero_tolerance(self.eigenvalues) if tolerance is None else tolerance
        return int((self.eigenvalues.abs() <= bound).sum())

    def nonzero(self, tolerance: float | None = None) -> Tensor:
        """Those that are not zero, ascending."""
        bound = zero_tolerance(self.eigenvalues) if tolerance is None else tolerance
        return self.eigenvalues[self.eigenvalues.abs() > bound]


def zero_tolerance(eigenvalues: Tensor) -> float:
    r"""The modulus up to which an eigenvalue counts as zero: :math:`\sqrt{\epsilon}` of the largest.

    Rounding moves eigenvalues by some eps of the largest, an unfinished descent by the length of the gradient; half
    the digits are left to both.
    """
    eps = torch.finfo(eigenvalues.dtype).eps
    return float(eigenvalues.abs().max()) * eps**0.5 if len(eigenvalues) else 0.0


def spectrum(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    count: int | None = None,
    at: Mapping[str, Tensor] | None = None,
    limit: int = DENSE,
) -> Spectrum:
    """The eigenvalues of the Hessian of the loss.

    Args:
        model: The model; its floating-point parameters that require gradients are the coordinates.
        loss: Returns the loss; see `Hessian`.
        count: Only so many, those of the largest modulus, by Lanczos iterations (scipy's eigsh) on Hessian-vector
            products. All of them by default, from the whole matrix.
        at: Parameters by name, where the point is not the model's own.
        limit: Most parameters for which the whole matrix is made.

    Returns:
        The eigenvalues, in the dtype of the parameters: take float64 to count zeros.

    Raises:
        ValueError: If there are more parameters than the limit, or the count is not below their number.
        ImportError: If a count is given and scipy or curvlinops are absent.
    """
    hessian = Hessian(model, loss, at=at)
    if count is None:
        eigenvalues = torch.linalg.eigvalsh(hessian.dense(limit))
    else:
        check_count("count", count, "landscape.spectrum")
        if count >= hessian.size:
            raise ValueError(
                f"landscape.spectrum: count must be below the number of parameters; got {count} of {hessian.size}; "
                "leave it out for all eigenvalues."
            )
        eigenvalues = _extremes(hessian, count)
    norm = float(hessian.gradient.norm())
    return Spectrum(eigenvalues, hessian.size, norm, float(hessian.loss.detach()))


@dataclass(frozen=True)
class Density:
    """How dense the eigenvalues lie; it integrates to 1.

    Attributes:
        grid: Where it was evaluated, ascending.
        values: The density there.
    """

    grid: Tensor
    values: Tensor


def density(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    vectors: int = 64,
    repeats: int = 4,
    points: int = 1024,
    at: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Density:
    r"""The spectral density of the Hessian, for models too large for their eigenvalues.

    .. math:: p(\lambda) = \frac1P \sum_i \delta(\lambda - \lambda_i), \text{ widened to Gaussians}

    Stochastic Lanczos quadrature from Hessian-vector products, by curvlinops.

    Args:
        model: The model.
        loss: Returns the loss; see `Hessian`.
        vectors: Lanczos vectors of each run: Hessian-vector products, and the resolution.
        repeats: Runs from random vectors that are averaged.
        points: Of the grid.
        at: Parameters by name, where the point is not the model's own.
        seed: Of the random vectors.

    Raises:
        ImportError: If curvlinops is absent.

    References:
        Papyan (2020), arXiv:2008.11865, Algorithm 2.
    """
    for name, value in (("vectors", vectors), ("repeats", repeats), ("points", points)):
        check_count(name, value, "landscape.density")
    hessian = Hessian(model, loss, at=at)
    operator, lanczos = _operator(hessian)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        grid, values = lanczos(
            operator,
            min(vectors, hessian.size),
            num_points=points,
            num_repeats=repeats,
            boundaries=_ends(hessian),
        )
    return Density(grid, values)


def _ends(hessian: Hessian) -> tuple[float, float]:
    """The smallest and the largest eigenvalue, to some thousandths of their distance."""
    far = float(_extremes(hessian, 1, tolerance=1e-3))
    # Seen from one end the other is the farthest. Asked for on its own, an end at zero would never converge.
    other = far + float(_extremes(hessian, 1, shift=far, tolerance=1e-3))
    return min(far, other), max(far, other)


def _extremes(hessian: Hessian, count: int, shift: float = 0.0, tolerance: float = 0.0) -> Tensor:
    """The eigenvalues of the largest modulus, ascending; those of H - shift."""
    operator, _ = _operator(hessian, shift)
    from scipy.sparse.linalg import eigsh

    dtype = hessian.gradient.dtype
    # A start vector of ours: scipy's own would differ from call to call.
    start = torch.randn(hessian.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if not bool((hessian @ start.to(hessian.gradient)).any()):
        raise ValueError(
            "landscape: Lanczos iterations need a Hessian that is not zero; got one of a loss that is linear, or flat, "
            "at this point; take spectrum(model, loss) without count."
        )
    found: Any = eigsh(
        operator.to_scipy(str(dtype).removeprefix("torch.")),
        count,
        v0=start.to(dtype).numpy(),
        tol=tolerance,  # type: ignore[arg-type]
        return_eigenvectors=False,
    )
    return torch.from_numpy(found).to(dtype).sort().values


def _operator(hessian: Hessian, shift: float = 0.0) -> tuple[Any, Callable[..., tuple[Tensor, Tensor]]]:
    """The Hessian as an operator of curvlinops, and its Lanczos quadrature.

    Not its own Hessian: that differentiates forward over reverse, for which torch lacks the rule of `mse_loss`.
    """
    try:
        from curvlinops import lanczos_approximate_spectrum
        from curvlinops._torch_base import PyTorchLinearOperator
    except ImportError as error:
        raise ImportError(
            f"landscape: Lanczos iterations need curvlinops; got {error}; "
            "install it with pip install 'isoloss[landscape]'."
        ) from error

    class Operator(PyTorchLinearOperator):
        SELF_ADJOINT = True
        device = property(lambda self: hessian.gradient.device)
        dtype = property(lambda self: hessian.gradient.dtype)

        def _matmat(self, X: list[Tensor]) -> list[Tensor]:  # noqa: N803
            return [hessian @ X[0] - shift * X[0]]

    shape = [(hessian.size,)]
    return Operator(shape, shape), lanczos_approximate_spectrum
