"""Parts that the checkpoints of every training share."""

import torch

from isoloss import _checkpoint


def trained(steps):
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(layer.parameters(), lr=0.1)
    x = torch.randn(5, 3)
    for _ in range(steps):
        adam.zero_grad()
        layer(x).square().sum().backward()
        adam.step()
    return layer, adam


def test_an_optimizer_continues_to_the_same_bits():
    layer, adam = trained(3)
    copy, fresh = trained(0)
    copy.load_state_dict(layer.state_dict())
    held = _checkpoint.by_owner(_checkpoint.memory(adam))
    assert held.keys() == {"adam"}
    _checkpoint.restore_memory(fresh, {name: t.clone() for name, t in held["adam"].items()})
    for model, optimizer in ((layer, adam), (copy, fresh)):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), copy.parameters(), strict=True))
    # negative control: without its memory it goes elsewhere
    other, forgetful = trained(0)
    other.load_state_dict(trained(3)[0].state_dict())
    other(torch.ones(1, 3)).sum().backward()
    forgetful.step()
    assert not torch.equal(other.weight, layer.weight)


def test_names_may_have_several_parts():
    tensors = {"meta/a/b": torch.ones(1), "best/c": torch.zeros(1), "generator": torch.ones(2)}
    parts = _checkpoint.by_owner(tensors)
    assert (
        parts["meta"].keys() == {"a/b"}
        and parts["best"].keys() == {"c"}
        and parts["generator"].keys() == {""}
    )


def test_settings_that_differ_are_named():
    wrote = {"shape": [2, 3], "lr": 0.1, "old": 1}
    assert _checkpoint.differing(wrote, {"shape": (2, 3), "lr": 0.2, "new": None}) == ["lr", "old"]
    assert _checkpoint.differing(wrote, {"shape": (2, 3), "lr": 0.1, "old": 1}) == []
