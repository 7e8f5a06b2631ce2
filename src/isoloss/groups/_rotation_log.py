"""The logarithm of a rotation, half turns included."""

from math import pi

import torch
from torch import Tensor

from isoloss.groups._matrix import one_by_one


def rotation_log(g: Tensor) -> Tensor:
    r"""Antisymmetric a with ``exp(a) == g`` and angles in [-pi, pi], for rotations g ``(*batch, n, n)``.

    With :math:`S = (g + g^T) / 2` and :math:`K = (g - g^T) / 2`, a plane turned by :math:`\theta` has
    :math:`S = \cos\theta` and :math:`K = \sin\theta\, J`, hence

    .. math:: \log g = \theta J = f(S) K, \qquad f(\cos\theta) = \theta / \sin\theta

    which is accurate up to a right angle or so. Planes turned further are turned back by a half turn first:
    :math:`\log g = \pi J + \log(-g)`, where J is a complex structure that commutes with :math:`\log(-g)`.
    So half turns, which no principal logarithm covers, are as good as any. Computed in float64.
    """
    return one_by_one(_rotation_log, g)


def _rotation_log(g: Tensor) -> Tensor:
    cosines, basis = torch.linalg.eigh((g + g.mT) / 2)
    # Near and far planes part where the cosines in [-1/2, 0] lie widest apart: that cuts no plane in two.
    low, high = (cosines < -0.5).sum(), (cosines < 0).sum()
    window = torch.cat([cosines.new_tensor([-0.5]), cosines[low:high], cosines.new_tensor([0.0])])
    far = int(low + window.diff().argmax())
    q, p = basis[:, :far], basis[:, far:]
    back = _near_rotation_log(-q.mT @ g @ q)
    a = q @ (pi * _complex_structure(-back) + back) @ q.mT + p @ _near_rotation_log(p.mT @ g @ p) @ p.mT
    return (a - a.mT) / 2


def _near_rotation_log(g: Tensor) -> Tensor:
    cosines, basis = torch.linalg.eigh((g + g.mT) / 2)
    theta = torch.acos(cosines.clamp(-1, 1))
    ratio = torch.where(theta < 1e-4, 1 + theta**2 / 6, theta / torch.sin(theta))
    a = (basis * ratio) @ basis.mT @ (g - g.mT) / 2
    return (a - a.mT) / 2


def _complex_structure(a: Tensor) -> Tensor:
    """Antisymmetric J with J^2 = -1 and J = a / |a| in each plane of an antisymmetric a of even size.

    Where a vanishes any J does: the basis vectors of that space are paired off.
    """
    n = a.shape[-1]
    u, sizes, vt = torch.linalg.svd(a)
    rank = int((sizes > n * torch.finfo(a.dtype).eps).sum()) // 2 * 2
    null = vt[rank:]
    j = u[:, :rank] @ vt[:rank] + null[1::2].mT @ null[::2] - null[::2].mT @ null[1::2]
    for _ in range(8):  # Newton-Schulz, in case a is so small that rounding turned its singular vectors
        j = (j - j.mT) / 2
        j = j @ (3 * torch.eye(n, dtype=a.dtype, device=a.device) + j @ j) / 2
    return j
