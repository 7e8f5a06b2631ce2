"""The kinds of symmetry: what is kept, and on which data."""

from enum import Enum


class Kind(Enum):
    """What a transformation of parameters has to keep to be a symmetry.

    The first two say what is kept, for every input: the network, or the loss. The last two are relaxations on data of
    either: of the network or of the loss.

    References:
        Dissertation, Definitions 1.2.1, 1.3.1, 1.3.4, 1.3.6, and Figure 1.3.
    """

    NETWORK = "neural network"
    LOSS = "loss"
    DATA_DEPENDENT = "data-dependent"
    DISTRIBUTION = "distribution"

    @property
    def definition(self) -> str:
        """Number of the definition in the dissertation."""
        return _DEFINITIONS[self][0]

    @property
    def condition(self) -> str:
        """What has to hold, in LaTeX."""
        return _DEFINITIONS[self][1]

    @property
    def implies(self) -> tuple["Kind", ...]:
        """The kinds that every symmetry of this kind is of as well, as a statement about one and the same function.

        A symmetry of the network is one of every loss that sees the parameters through the network only.
        """
        return {
            Kind.NETWORK: (Kind.LOSS, Kind.DATA_DEPENDENT, Kind.DISTRIBUTION),
            Kind.LOSS: (Kind.DATA_DEPENDENT, Kind.DISTRIBUTION),
        }.get(self, ())


_DEFINITIONS = {
    Kind.NETWORK: ("1.2.1", r"f(g \cdot \theta, x) = f(\theta, x) for all \theta, x"),
    Kind.LOSS: ("1.3.1", r"L(g \cdot \theta, x) = L(\theta, x) for all \theta, x"),
    Kind.DATA_DEPENDENT: ("1.3.4", r"F(g \cdot (\theta, X), x) = F(\theta, x) for all \theta, X, and x in X"),
    Kind.DISTRIBUTION: ("1.3.6", r"E_x F(g \cdot \theta, x) = E_x F(\theta, x) for all \theta"),
}
