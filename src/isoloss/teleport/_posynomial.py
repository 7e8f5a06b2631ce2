"""The sum of squares of a network as a function of all its scalings: evaluated, lowered and raised jointly."""

from functools import cached_property
from math import sqrt

import torch
from torch import Tensor

from isoloss.teleport._anderson import Anderson
from isoloss.teleport._cells import Cells
from isoloss.teleport._quadratic import Quadratic, widen
from isoloss.teleport._scalings import Scalings
from isoloss.teleport._squares import Lattice, Matrix, Runs


class Posynomial:
    r"""The sum of squares on the orbit of all scalings, a posynomial in the factors s.

    .. math:: f(a) = \sum_p \lambda_p \sum_{ij} x_{p,ij}^2 \prod_k e^{2 \rho c_{kij} a_k}, \qquad s = e^a

    It is convex in the log-scales a. With rho = -1 and x the gradient it is the squared gradient norm at the point
    that s leads to (dissertation Prop. 4.5.1), with rho = 1 and x the weights their squared norm. One evaluation
    reads every hidden weight once, and is two matrix-vector products with its squares.

    Args:
        scalings: The scalings of the network.
        form: The sum of squares here.
    """

    def __init__(self, scalings: Scalings, form: Quadratic):
        self._scalings, self._form = scalings, form
        self._linear = torch.zeros_like(scalings.share)
        self._products: list[tuple[Cells, Matrix | Runs | Lattice]] = []
        parts = scalings.parts(self._linear)
        for cells in scalings.cells:
            x = form.tensors.get(cells.name)
            if x is None or not x.numel():
                continue
            x, weight = x.reshape(cells.shape), form.weight(cells.name)
            if len(cells.axes) == 1:
                _norms(x, cells.axes[0], sqrt(weight), cells.of(parts)[0])
            elif x.dim() == 2:
                self._products.append((cells, Matrix(x, weight, scalings.dtype)))
            elif cells.axes == (0, 1):
                self._products.append((cells, Runs(x, weight, scalings.dtype)))
            else:
                rest = [axis for axis in range(x.dim()) if axis not in cells.axes]
                squares = widen(x).square()
                self._products.append((cells, Lattice(weight * (squares.sum(rest) if rest else squares))))
        self._linear.square_()

    def value(self, s: Tensor) -> Tensor:
        """The sum over all parameters that a scaling moves, at s."""
        u = self._factors(s)
        total, parts = torch.dot(self._linear, u), self._scalings.parts(u)
        for cells, squares in self._products:
            total = total + squares.total(cells.of(parts)).to(total.device)
        return total

    @cached_property
    def here(self) -> Tensor:
        """The same sum at s = 1."""
        return torch.dot(self._sums_here, self._scalings.share)

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """For every factor the sums of |c| x^2 over the entries that grow with it, and over those that shrink."""
        return self._scalings.collect(self._sums_here, self._sign)

    def raised(self, radius: float, sweeps: int = 1) -> Tensor:
        r"""Factors that raise the sum, with all log-scales within the radius.

        A convex function is largest at a corner of the box, and lies above its tangents: going to the corner that
        the gradient points to can only raise it. So the step of the ascent is as long as the box, and its direction
        :math:`a \leftarrow r \operatorname{sign} \nabla f(a)` seldom changes after the first sweep.

        Args:
            radius: Largest log-scale.
            sweeps: How often to take that step.
        """
        s = self._scalings.ones()
        for sweep in range(sweeps):
            sums = self._sums(self._factors(s)) if sweep else self._sums_here
            grow, shrink = self._scalings.collect(sums, self._sign)
            s = (radius * torch.sign(grow - shrink)).exp()
        return s

    def lowered(self, radius: float, sweeps: int = 100, tolerance: float | None = None) -> Tensor:
        r"""Factors that minimize the sum, with all log-scales within the radius, which may be infinite.

        Between the inequality of the means, which parts an entry among the m scalings that meet in it, and the
        convexity of the exponential, every scaling has its own upper bound, tight here,

        .. math:: f(a + \Delta) \le f(a) + \sum_k \frac{P_k}{p_k} (e^{2 p_k \Delta_k} - 1)
            + \frac{N_k}{q_k} (e^{-2 q_k \Delta_k} - 1)

        where P is the sum of c x^2 over the entries that grow with s_k, N over those that shrink, p and q the
        largest :math:`|\rho| m |c|` among them. Its minimum within the box is closed form; a network with one hidden
        layer has m = 1 and is balanced by the first sweep, :math:`\Delta = \tfrac14 \log(N / P)`. Deeper ones take
        several, which are extrapolated; where that raises the sum the plain sweep is taken, which cannot. Nothing
        moves towards an infimum at infinity, unless the radius is finite.

        Args:
            radius: Largest log-scale.
            sweeps: At most this many.
            tolerance: Change of the log-scales at which to stop. By default sqrt(eps) of the dtype: at a minimum
                that is an error of eps in the sum.
        """
        tolerance = sqrt(torch.finfo(self._scalings.dtype).eps) if tolerance is None else tolerance
        a = image = torch.zeros_like(self._scalings.ones())
        best, ahead, extrapolated = torch.inf, Anderson(), False
        for sweep in range(sweeps if len(a) else 0):
            sums = self._sums(self._factors(a.exp())) if sweep else self._sums_here
            value = float(torch.dot(sums, self._scalings.share))
            if extrapolated and not value <= best:
                ahead.forget()
                a, extrapolated = image, False
                continue
            best, image = value, self._swept(a, sums, radius)
            if (image - a).abs().amax() <= tolerance:
                break
            a, extrapolated = ahead.next(a, image).clamp(-radius, radius), True
        return image.exp()

    def _swept(self, a: Tensor, sums: Tensor, radius: float) -> Tensor:
        """The minimum of the upper bound, within the box."""
        grow, shrink = self._scalings.collect(sums, self._sign)
        p, q = self._exponents
        step = (shrink.log() - grow.log()) / (2 * (p + q))
        if radius == torch.inf:
            step = torch.where(step.isfinite(), step, 0.0)
        return (a + step.nan_to_num(0.0, torch.inf, -torch.inf)).clamp(-radius, radius)

    @cached_property
    def _exponents(self) -> tuple[Tensor, Tensor]:
        p, q = self._scalings.exponents(self._sign)
        return abs(self._form.power) * p, abs(self._form.power) * q

    @property
    def _sign(self) -> int:
        return 1 if self._form.power > 0 else -1

    def _factors(self, s: Tensor) -> Tensor:
        return self._scalings.factors(s, 2 * self._form.power)

    @cached_property
    def _sums_here(self) -> Tensor:
        return self._sums(torch.ones_like(self._linear))

    def _sums(self, u: Tensor) -> Tensor:
        """For every position the sum of the squares of all entries that its factor multiplies, after factors u."""
        h, factors = self._linear * u, self._scalings.parts(u)
        sums = self._scalings.parts(h)
        for cells, squares in self._products:
            for into, factor, total in zip(
                cells.of(sums), cells.of(factors), squares.sums(cells.of(factors)), strict=True
            ):
                torch.mul(factor, total.to(factor.device), out=into)
        return h


def _norms(x: Tensor, axis: int, weight: float, out: Tensor) -> None:
    """The norm of every slice across an axis, times the weight."""
    x = widen(x)
    if x.dim() == 1:
        out.copy_(x)
    elif axis == 0:
        out.copy_(torch.linalg.vector_norm(x.flatten(1), dim=1))
    else:
        out.copy_(x.square().sum([d for d in range(x.dim()) if d != axis]).sqrt_())
    if weight != 1.0:
        out.mul_(weight)
