"""The linear group acts on the parameters as it stands."""

from torch import Tensor

from isoloss.discovery.actions._action import Action, applied


class Linear(Action):
    r""":math:`a(g, \theta) = g\, \theta`, without parameters of its own, on all data alike.

    It is an action of a group whatever the generators are. Rescalings and changes of basis between linear maps are of
    this kind.

    References:
        Dissertation, section 6.3.2, "Linear action of matrix groups".
    """

    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """See `Action`."""
        return applied(g, theta)
