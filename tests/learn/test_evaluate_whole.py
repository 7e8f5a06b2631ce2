"""Tasks whose steps see all data are evaluated in one go, and others step by step."""

from dataclasses import dataclass

import torch
from torch.testing import assert_close

from isoloss.learn import Design, MetaOptimizer, evaluate
from isoloss.learn.tasks import BoothTasks


@dataclass(frozen=True)
class Copied(BoothTasks):
    """A minibatch that happens to be everything."""

    def minibatch(self, data, generator=None):
        return dict(data)


def test_both_come_to_the_same_bits():
    whole, copied = BoothTasks(conditioning=10.0), Copied(conditioning=10.0)
    draw = whole.draw(4, torch.Generator().manual_seed(0))
    meta = MetaOptimizer.of(Design(rate=0.05, every=3, directions=("crest", "lookahead")), whole)
    meta.part("tele").network.read.bias.data.fill_(0.3)
    a, b = (evaluate(meta, tasks, draw, 7) for tasks in (whole, copied))
    assert a.jumps == b.jumps == (0, 3, 6) and (a.gains != 1).any()
    for name in ("losses", "gains", "changes", "sizes", "rates"):
        assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)
