"""Samples of a step: the same in all tensors of a task, none twice."""

import torch

from isoloss.learn.tasks._minibatch import gather


def data(n=5, samples=12):
    marks = torch.arange(n * samples).view(n, samples)
    return {"inputs": marks.double().unsqueeze(-1).expand(-1, -1, 3), "targets": marks}


def test_samples_belong_together_and_to_their_task():
    seen = gather(data(), 7, torch.Generator().manual_seed(0))
    assert seen["inputs"].shape == (5, 7, 3) and seen["targets"].shape == (5, 7)
    assert torch.equal(seen["inputs"][..., 0], seen["targets"].double())
    assert torch.equal(seen["targets"] // 12, torch.arange(5)[:, None].expand(5, 7))
    assert all(len(set(row.tolist())) == 7 for row in seen["targets"])


def test_tasks_and_steps_see_different_samples():
    generator = torch.Generator().manual_seed(0)
    first, second = (gather(data(), 7, generator)["targets"] % 12 for _ in range(2))
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    again = gather(data(), 7, torch.Generator().manual_seed(0))["targets"] % 12
    assert torch.equal(first, again)


def test_no_more_than_there_are():
    given = data()
    assert gather(given, 12) is given and gather(given, 100) is given
