"""Noise in the forward pass: the same draw before and after a move, so that its indices are told apart."""

import torch
from torch import Tensor, nn

from zoo._entry import Built, entry, leaky, permutation, scaling, sign, translation


class Variational(nn.Module):
    """An autoencoder with a Gaussian code, reparametrized: z = mean + noise * spread."""

    def __init__(self, spread, *, draw=torch.randn_like, everything: bool = False) -> None:  # noqa: ANN001
        super().__init__()
        self.encode = nn.Linear(5, 6)
        self.mean, self.spread = nn.Linear(6, 3), nn.Linear(6, 3)
        self.widen, self.decode = nn.Linear(3, 4), nn.Linear(4, 5)
        self.positive, self.draw, self.everything = spread, draw, everything

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        h = leaky(self.encode(x))
        mean, raw = self.mean(h), self.spread(h)
        spread = self.positive(raw)
        y = self.decode(leaky(self.widen(mean + self.draw(spread) * spread)))
        return (y, mean, raw) if self.everything else y


ENCODER = ("encode.weight", "encode.bias", "mean.weight", "spread.weight")
DECODER = ("widen.weight", "widen.bias", "decode.weight")
UNITS = [scaling(6, *ENCODER), permutation(6, *ENCODER), scaling(4, *DECODER), permutation(4, *DECODER)]
UNIT_TERMS = {"R+ of each unit of the encoder": 6, "R+ of each unit of the decoder": 4}
SLIDE = {"the bias of the mean slides into the next bias": 3}
CODE = ("mean.weight", "mean.bias", "spread.weight", "spread.bias", "widen.weight")


@entry(UNIT_TERMS, UNITS, rigid=("mean.bias", "spread.bias"))
def vae() -> Built:
    """Mean and log-variance are outputs, too, as the loss needs them: they hold the code fixed."""
    return Variational(lambda s: (0.5 * s).exp(), everything=True), torch.randn(2, 5)


@entry(
    UNIT_TERMS | SLIDE,
    [*UNITS, translation("mean.bias", "widen.bias")],
    beyond={"a code times c, for which the log-variance grows by 2 log c: not linear": 3},
    not_group=[("Permutation", "mean.bias"), ("SignFlip", "mean.bias")],
)
def vae_decoded() -> Built:
    """Codes may be exchanged in distribution, but not with the same draw."""
    return Variational(lambda s: (0.5 * s).exp()), torch.randn(2, 5)


for _name, _draw in {
    "randn_like": torch.randn_like,
    "rand_like": lambda s: torch.rand_like(s) - 0.5,
    "normal": lambda s: torch.empty_like(s).normal_(),
    "gumbel": lambda s: -torch.empty_like(s).exponential_().log(),
}.items():

    @entry(
        UNIT_TERMS | SLIDE | {"R+ of each code: mean and spread are both linear": 3},
        [*UNITS, scaling(3, *CODE), sign(3, *CODE), translation("mean.bias", "widen.bias")],
        not_group=[("Permutation", "mean.bias")],
        name=f"noise_{_name}",
    )
    def _noise(draw=_draw) -> Built:  # noqa: ANN001
        return Variational(lambda s: s, draw=draw), torch.randn(2, 5)
