"""Parts drawn at random: what find sees in them extends, and is among what it sees in a network around them."""

import pytest
import torch
from torch import nn

from architectures import random_model
from discovery.extension.models import extended
from finding.spans import rank, tangents
from isoloss.finding import find
from isoloss.symmetry import named_tensors


class Around(nn.Module):
    """The arc tangent of what a part returns, times a parameter."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.f, self.gain = part, nn.Parameter(torch.tensor(0.7))

    def forward(self, *args):
        return (self.gain * self.f(*args)).atan()


# Small ones of the first fourteen: vectors, images and sequences.
@pytest.mark.parametrize("seed", [1, 9, 10, 11])
def test_a_random_part(seed):
    part, x = random_model(seed)
    whole = Around(part)
    inherited = extended(part, x, into=whole, at="f", inputs=x)
    tensors = {n: t.detach().double() for n, t in named_tensors(whole).items() if t.is_floating_point()}
    names = [n for n, _ in whole.named_parameters()]
    known, new = (
        tangents([s for s in some if s.exact and s.dim], tensors, names)
        for some in (find(whole, x), inherited)
    )
    assert rank(torch.cat([known, new])) == rank(known)
    # The gain meets the last layer in the whole only.
    assert rank(known) == rank(new) + 1
