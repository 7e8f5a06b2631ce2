"""The identity moves nothing."""

from torch import Tensor

from isoloss.discovery._local import Local


def identity(here: Local, beta: float) -> Tensor:
    r""":math:`\mathbb{E}\, \|a_X(I, \theta) - \theta\|_2`; zero by construction for actions that are anchored.

    References:
        Dissertation, section 6.5.1.
    """
    return here.theta.new_zeros(()) if here.action.anchored else here.identity_error.mean()
