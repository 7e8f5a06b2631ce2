"""Figure 6.2 (c) in several guises: the whole reads the parameters beside what the part returns. And near misses."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from isoloss.discovery.extension import extend
from isoloss.discovery.extension._extend import unchecked
from isoloss.finding import find
from isoloss.finding._verify import Verifier
from isoloss.finding._world import copy_in_float64
from isoloss.groups import PositiveScaling
from isoloss.symmetry import named_tensors
from networks import mlp


class Whole(nn.Module):
    """A part f between two layers; subclasses say how else it is read."""

    def __init__(self):
        super().__init__()
        self.before, self.f = nn.Linear(3, 3), self.part()
        self.after = nn.Linear(3, 2)

    def part(self) -> nn.Module:
        return mlp(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.f(self.before(x).tanh()).tanh())


class SkipFromInside(Whole):
    """The hidden units of f, by running its first layers again."""

    def forward(self, x):
        s = self.before(x).tanh()
        return super().forward(x) + self.f[1](self.f[0](s)).sum(-1, keepdim=True)


class SkipInPieces(Whole):
    """The hidden units of f, which is run in pieces and hence never itself."""

    def forward(self, x):
        hidden = self.f[1](self.f[0](self.before(x).tanh()))
        return self.after(self.f[2](hidden)) + hidden.sum(-1, keepdim=True)


class SecondUse(Whole):
    """The first weight of f, for another input."""

    def forward(self, x):
        return super().forward(x) + linear(x, self.f[0].weight).sin().sum(-1, keepdim=True)


class Tied(Whole):
    """The first weight of f is also that of a later layer, under a name of its own."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(3, 4)
        self.decoder.weight = self.f[0].weight

    def forward(self, x):
        return self.decoder(super().forward(x) @ torch.ones(2, 3).to(x))


class TiedTransposed(Whole):
    """An autoencoder that decodes by the transpose."""

    def forward(self, x):
        return linear(super().forward(x) @ torch.ones(2, 4).to(x), self.f[0].weight.T)


class Penalty(Whole):
    """Weight decay is part of what is computed."""

    def forward(self, x):
        return super().forward(x) + 0.1 * self.f[2].weight.square().sum()


class InputSeesThem(Whole):
    """What f reads is divided by the size of its weight: h depends on theta_2."""

    def forward(self, x):
        return self.after(self.f(x / self.f[0].weight.norm()).tanh())


class SharedPiece(Whole):
    """A layer of f is also a layer of its own."""

    def forward(self, x):
        return super().forward(x) + self.f[0](x.cos()).sum(-1, keepdim=True)


class Keeps(nn.Module):
    """Returns its outputs and leaves the hidden units behind."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 3)
        self.left: Tensor | None = None

    def forward(self, x):
        self.left = self.one(x).relu()
        return self.two(self.left)


class LeftBehind(Whole):
    """The hidden units of f, which f leaves in an attribute."""

    def part(self):
        return Keeps()

    def forward(self, x):
        return super().forward(x) + self.f.left.sum(-1, keepdim=True)


class Returns(Keeps):
    """Returns the hidden units as well, to those who ask."""

    def forward(self, x, both=False):
        y = super().forward(x)
        return (y, self.left) if both else y


class AskedFor(Whole):
    """f returns its hidden units here, and did not where its symmetries were found."""

    def part(self):
        return Returns()

    def forward(self, x):
        y, hidden = self.f(self.before(x).tanh(), both=True)
        return self.after(y) + hidden.sum(-1, keepdim=True)


THROUGH = "must use the parameters only through f; got "
REFUSED = [
    (SkipFromInside, THROUGH + "f.0.weight, f.0.bias, read elsewhere"),
    (SkipInPieces, "a pass that never calls f"),
    (SecondUse, THROUGH + "f.0.weight, read elsewhere"),
    (Tied, THROUGH + "f.0.weight, read elsewhere"),
    (TiedTransposed, THROUGH + "f.0.weight, read elsewhere"),
    (Penalty, THROUGH + "f.2.weight, read elsewhere"),
    (InputSeesThem, THROUGH + "f.0.weight, read elsewhere"),
    (SharedPiece, THROUGH + "f.0.weight, f.0.bias, read elsewhere"),
    (LeftBehind, THROUGH + "f.one.weight, f.one.bias, f.two.weight, read elsewhere"),
    (AskedFor, r"a symmetry of f must leave the outputs .* scaling R\+\^4: the outputs changed by"),
]


@pytest.mark.parametrize(("network", "message"), REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_what_reads_the_parameters_elsewhere_is_refused(network, message):
    model, x = network(), torch.randn(5, 3)
    (s,) = find(model.f, torch.randn(5, 3)).only(PositiveScaling)
    with pytest.raises(ValueError, match=message):
        extend(s, into=model, at="f", inputs=x)


@pytest.mark.parametrize("network", [n for n, _ in REFUSED], ids=lambda n: n.__name__)
def test_it_is_rightly_refused(network):
    """Moved all the same, the outputs change by far more than rounding."""
    model, x = network(), torch.randn(5, 3)
    (s,) = find(model.f, torch.randn(5, 3)).only(PositiveScaling)
    twin = copy_in_float64(model)
    tensors = dict(twin.named_parameters())
    verifier = Verifier(twin, (x.double(),), {}, tensors, named_tensors(model))
    assert verifier.error([unchecked(s, model, "f", x)]) > 1e-3


class SkipAround(Whole):
    """From what f reads to what it returns."""

    def forward(self, x):
        s = self.before(x).tanh()
        return self.after(self.f(s) + s)


class ReadTwice(Whole):
    """The outputs of f, twice."""

    def forward(self, x):
        y = self.f(self.before(x).tanh())
        return self.after(y * y.sin())


class OtherParameter(Whole):
    """A parameter of f that its symmetry does not move, the last bias, is read elsewhere."""

    def forward(self, x):
        return super().forward(x) + self.f[2].bias.sum()


class TiedOutside(Whole):
    """Other layers share a weight."""

    def __init__(self):
        super().__init__()
        self.again = nn.Linear(3, 3)
        self.again.weight = self.before.weight

    def forward(self, x):
        return super().forward(self.again(x))


class Siamese(Whole):
    """f on two inputs."""

    def forward(self, x):
        return self.after(self.f(x) - self.f(self.before(x)))


class WritesOver(Whole):
    """What f returns is written over in place."""

    def forward(self, x):
        y = self.f(self.before(x).tanh())
        return self.after(y.mul_(2.0).relu_())


class ByName(Whole):
    """f is asked to run by keyword."""

    def forward(self, x):
        return self.after(self.f(input=self.before(x)))


@pytest.mark.parametrize(
    "network",
    [Whole, SkipAround, ReadTwice, OtherParameter, TiedOutside, Siamese, WritesOver, ByName],
    ids=lambda n: n.__name__,
)
def test_near_misses_are_accepted(network):
    model = network()
    found = find(model.f, torch.randn(5, 3))
    for s in found:
        assert extend(s, into=model, at="f", inputs=torch.randn(5, 3)).error < 1e-10
    assert len(found) == 2


def test_the_condition_suffices_and_is_not_needed():
    """A sum of squares is read elsewhere, which a permutation keeps: a mapping leaves it to the numbers."""
    model, x = Penalty(), torch.randn(5, 3)
    scaling, permutation = find(model.f, x)
    for s in (scaling, permutation):
        with pytest.raises(ValueError, match="only through f"):
            extend(s, into=model, at="f", inputs=x)
    at = {n: f"f.{n}" for n, _ in model.f.named_parameters()}
    assert extend(permutation, into=model, at=at, inputs=x).error < 1e-10
    with pytest.raises(ValueError, match="of the subnetwork must leave .*the outputs changed by"):
        extend(scaling, into=model, at=at, inputs=x)


def test_gpt_2_keeps_what_does_not_move_the_embedding_that_its_head_is_tied_to():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=30, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    inputs = {"input_ids": torch.randint(30, (2, 6))}
    found = find(model.transformer, inputs)
    tied = [s for s in found if "wte.weight" in s.parameters]
    free = [s for s in found if "wte.weight" not in s.parameters]
    assert len(tied) >= 4 and len(free) >= 10
    for s in tied:
        with pytest.raises(
            ValueError, match="only through transformer; got transformer.wte.weight, read elsewhere"
        ):
            extend(s, into=model, at="transformer", inputs=inputs)
    for s in free[:6]:
        assert extend(s, into=model, at="transformer", inputs=inputs).error < 1e-10
