"""The matrices R_z of the dissertation: a rotation that takes the first axis to a vector, times its length."""

import torch
from torch import Tensor


def rotation(z: Tensor) -> Tensor:
    r"""The matrix :math:`R_z` whose first column is z and whose inverse is :math:`R_z^T / |z|^2`.

    .. math:: R_z = |z| R(\alpha), \qquad
        R(\alpha)_{ij} = \cos\alpha_{j-1} \Bigl(\prod_{k=j}^{i-1} \sin\alpha_k\Bigr) \cos\alpha_i \ (j \le i), \qquad
        R(\alpha)_{i,i+1} = -\sin\alpha_i

    The angles are the spherical coordinates of z. With the norms of its tails, :math:`t_j = |(z_j, \dots, z_h)|`
    and :math:`t_h = z_h`, every product of sines is a quotient: no angle is computed, and nothing underflows.

    Args:
        z: A vector that is not zero, shape (h,).

    Raises:
        ValueError: If z is zero or no vector.

    References:
        Dissertation, Definition A.3.1, Proposition A.3.3. Section 2.4 prints the matrix without its last cosines.
    """
    if z.dim() != 1 or not bool(z.any()):
        raise ValueError(
            f"rotation: R_z needs a vector that is not zero; got shape {tuple(z.shape)}, norm {float(z.norm()):g}; "
            "the action is not defined where all activations of a layer vanish."
        )
    n, scale = len(z), z.abs().amax()  # squares of small numbers underflow
    length = scale * torch.linalg.vector_norm(z / scale)
    u = z / length
    tails = u.square().flip(0).cumsum(0).flip(0).sqrt()
    tails[-1] = u[-1]
    zero = tails == 0  # where a tail vanishes its angles are zero, by convention
    safe = torch.where(zero, torch.ones_like(tails), tails)
    cosines = torch.where(zero, torch.ones_like(u), u / safe)
    before = torch.cat([torch.ones_like(u[:1]), cosines[:-1]])
    lower = torch.tril(u[:, None] / safe[None, :] * before[None, :])
    lower = torch.where(zero[None, :], torch.diag(before), lower)
    sines = torch.where(zero[:-1], torch.zeros_like(u[1:]), tails[1:] / safe[:-1])
    matrix = lower - torch.diag(sines, 1) if n > 1 else lower
    return length * matrix
