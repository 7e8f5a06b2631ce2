"""The loss does not change to first order."""

from torch import Tensor

from isoloss.discovery._local import Local


def invariance(here: Local, beta: float) -> Tensor:
    r""":math:`\mathbb{E}\, |D_\theta L\, D_g a(h)|`, averaged over generators and data points.

    Samples with a steep loss count most, and directions can make it small by being short.

    References:
        Dissertation, section 6.5.1, from Theorem 6.3.1.
    """
    return here.slopes.abs().mean()
