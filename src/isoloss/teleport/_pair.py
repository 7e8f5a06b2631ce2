"""The sum of squares of two layers that meet, as a function of the invertible matrix between them."""

from dataclasses import dataclass
from math import exp, sqrt

import torch
from torch import Tensor

from isoloss.symmetry import Slot, Symmetry
from isoloss.teleport._quadratic import Quadratic, widen


@dataclass(frozen=True)
class Pair:
    r"""The sum of squares on the orbit of GL(h), for every matrix of a batch.

    .. math:: f(S) = \operatorname{tr}(S P) + \operatorname{tr}(S^{-1} N), \qquad S = g^T g

    P gathers the Gram matrices of what g multiplies, N of what :math:`g^{-T}` multiplies; both are read once, and
    all that follows costs h^3. Only S matters: an orthogonal g changes nothing (dissertation Cor. 4.5.2), so g is
    sought among the symmetric positive matrices. f is convex in S.

    Attributes:
        grow: The matrices P, shape (*batch, h, h).
        shrink: The matrices N.
    """

    grow: Tensor
    shrink: Tensor

    @classmethod
    def of(cls, symmetry: Symmetry, form: Quadratic) -> "Pair":
        """Gather the Gram matrices, in float64, for their square roots."""
        n = symmetry.group.n
        first = next(iter(form.tensors.values()))
        sums = [
            torch.zeros(*symmetry.batch, n, n, dtype=torch.float64, device=first.device) for _ in range(2)
        ]
        for slot in symmetry.slots:
            if isinstance(slot, Slot) and slot.parameter in form.tensors:
                gram = _gram(slot, form.tensors[slot.parameter], len(symmetry.batch))
                total = sums[0 if slot.charge * form.power > 0 else 1]
                total.add_(gram.to(total), alpha=form.weight(slot.parameter))
        return cls(*sums)

    @property
    def here(self) -> Tensor:
        """The sum at g = 1."""
        return (self.grow + self.shrink).diagonal(dim1=-2, dim2=-1).sum()

    def value(self, g: Tensor) -> Tensor:
        """The sum at the point that g, symmetric, leads to."""
        s = g @ g
        return _trace(s, self.grow).sum() + _trace(torch.linalg.inv(s), self.shrink).sum()

    def raised(self, radius: float) -> Tensor:
        r"""The g with singular values within exp(+-radius) where the sum is largest.

        A convex function is largest at an extreme point of :math:`e^{-2r} \le S \le e^{2r}`, and these are
        :math:`S = e^{2 r Z}` with :math:`Z^2 = 1`. There

        .. math:: f = \cosh(2r) \operatorname{tr}(P + N) + \sinh(2r) \operatorname{tr}(Z (P - N))

        which Z = sign(P - N) maximizes: an eigendecomposition, and no iteration.
        """

        def corner(x: Tensor) -> Tensor:
            # Directions that no gradient has belong to neither side: rounding must not choose one for them.
            noise = x.shape[-1] * torch.finfo(torch.float32).eps * x.abs().amax(-1, keepdim=True)
            return torch.exp(radius * torch.where(x.abs() > noise, torch.sign(x), 0.0))

        return _function(self.grow - self.shrink, corner)

    def lowered(self, radius: float, ridge: "Pair") -> Tensor:
        r"""The g with singular values within exp(+-radius) where the sum, with the ridge added, is smallest.

        .. math:: P = S^{-1} N S^{-1} \;\Longrightarrow\; S = P^{-1} \# N

        the geometric mean of P^-1 and N. Where that leaves the radius, projected gradient steps on S follow, from
        its eigenvalues clipped. Where P or N is zero (the second factor of a fresh LoRA) there is no minimum, and g
        is the identity.

        Args:
            radius: Largest spectral norm of log g, or infinity.
            ridge: What `ridge` gave, moved by what has moved this pair since.
        """
        grow, shrink = self.grow + ridge.grow, self.shrink + ridge.shrink
        root, inverse = _function(grow, torch.sqrt), _function(grow, torch.rsqrt)
        s = inverse @ _function(root @ shrink @ root, torch.sqrt) @ inverse
        if (
            radius < 100.0
        ):  # no minimum of a sum with a ridge lies farther, where exp(6 radius) would overflow
            s = _descend(Pair(grow, shrink), s, radius)
        eye = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
        both = (_trace(eye, self.grow) > 0) & (_trace(eye, self.shrink) > 0)
        return torch.where(both[..., None, None], _function(s, torch.sqrt), eye)

    def ridge(self) -> "Pair":
        """A multiple of the identity for each side: sqrt(eps) of float32 of its mean eigenvalue.

        Where P or N is singular the infimum is at infinity. With the ridge there is a minimum, of cond(g) < 100.
        """
        return Pair(_ridge(self.grow), _ridge(self.shrink))

    def moved(self, g: Tensor) -> "Pair":
        """The pair where g, symmetric, leads."""
        back = torch.linalg.inv(g)
        return Pair(g @ self.grow @ g, back @ self.shrink @ back)


def _descend(pair: Pair, s: Tensor, radius: float, steps: int = 50) -> Tensor:
    low, high = exp(-2 * radius), exp(2 * radius)

    def clip(s: Tensor) -> Tensor:
        return _function(s, lambda x: x.clamp(low, high))

    def value(s: Tensor) -> Tensor:
        return _trace(s, pair.grow) + _trace(torch.linalg.inv(s), pair.shrink)

    clipped = clip(s)
    if torch.allclose(clipped, s, rtol=1e-12):
        return s
    s, best = clipped, value(clipped)
    # Second derivative of tr(S^-1 N) is at most 2 |N| / low^3: one over it is a step that cannot overshoot.
    length = low**3 / (2 * torch.linalg.matrix_norm(pair.shrink, 2))
    for _ in range(steps):
        inverse = torch.linalg.inv(s)
        slope = pair.grow - inverse @ pair.shrink @ inverse
        trial = clip(s - length[..., None, None] * slope)
        found = value(trial)
        better = found <= best
        s = torch.where(better[..., None, None], trial, s)
        best = torch.where(better, found, best)
        length = torch.where(better, 2 * length, length / 4)
    return s


def _gram(slot: Slot, x: Tensor, batch: int) -> Tensor:
    view = widen(slot.block.view(x))
    own = slot.dims[batch:]
    rest = [d for d in range(view.dim()) if d not in slot.dims]
    rows = view.permute(*slot.dims[:batch], *rest, *own)
    rows = rows.reshape(*rows.shape[:batch], -1, rows.shape[-1])
    return rows.mT @ rows


def _function(x: Tensor, f) -> Tensor:
    values, vectors = torch.linalg.eigh((x + x.mT) / 2)
    return (vectors * f(values).unsqueeze(-2)) @ vectors.mT


def _ridge(x: Tensor) -> Tensor:
    mean = x.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(x.dtype).tiny)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return sqrt(torch.finfo(torch.float32).eps) * mean[..., None, None] * eye


def _trace(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1))
