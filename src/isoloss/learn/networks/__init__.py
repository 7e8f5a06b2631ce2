"""Networks that meta-optimizers are made of."""

from isoloss.learn.networks._recurrent import Recurrent

__all__ = ["Recurrent"]
