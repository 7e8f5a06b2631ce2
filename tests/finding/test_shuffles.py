"""Channel shuffles between grouped convolutions: every channel keeps its scale, whether or not the groups nest."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.finding import find
from isoloss.groups import Permutation, PositiveScaling


class Shuffled(nn.Module):
    """Convolution in groups, shuffle, convolution in other groups."""

    def __init__(self, channels: int, before: int, shuffle: int, after: int, by_hand: bool) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.a = nn.Conv2d(before, channels, 1, groups=before)
            self.b = nn.Conv2d(channels, after, 1, groups=after)
            self.c = nn.Conv2d(after, 2, 1)
        self.shuffle, self.by_hand = shuffle, by_hand

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.a(x), 0.3)
        n, c, *places = h.shape
        if self.by_hand:
            h = h.view(n, self.shuffle, c // self.shuffle, *places).transpose(1, 2).reshape(n, c, *places)
        else:
            h = F.channel_shuffle(h, self.shuffle)
        return self.c(F.leaky_relu(self.b(h), 0.3))


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "channel_shuffle"])
@pytest.mark.parametrize(
    "sizes",
    [
        (6, 2, 2, 2),
        (6, 3, 2, 2),
        (6, 2, 3, 2),
        (6, 2, 3, 3),
        (8, 4, 2, 4),
        (10, 5, 2, 5),
        (12, 3, 4, 2),
        (12, 2, 3, 4),
    ],
    ids=str,
)
def test_every_channel_keeps_its_scale(sizes, by_hand):
    """One for each channel of a, one for each of b."""
    channels, before, _, after = sizes
    model, x = Shuffled(*sizes, by_hand), torch.randn(2, before, 2, 3)
    found = find(model, x)
    assert found.notes == ()
    scalings = [s for s in found if isinstance(s.group, PositiveScaling)]
    assert sum(s.dim for s in scalings if "a.weight" in s.parameters) == channels
    assert sum(s.dim for s in scalings if "c.weight" in s.parameters) == after


def test_groups_that_nest_keep_their_permutations():
    """Four groups of two channels, shuffled into two of four: the pairs of channels in both may be exchanged."""
    found = find(Shuffled(8, 2, 2, 2, True), torch.randn(2, 2, 2, 3))
    assert [s for s in found if isinstance(s.group, Permutation) and "a.weight" in s.parameters]
