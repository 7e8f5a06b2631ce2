"""Many initializations of one module are those that torch draws one after another."""

import torch
from torch import nn
from torch.testing import assert_close

from isoloss.learn.tasks._reset import reset


def test_weights_are_those_of_the_module_made_anew():
    def make():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(8, 3))

    module = make()
    names = [name for name, _ in module.named_parameters()]
    with torch.no_grad():
        module[1].weight.fill_(7.0)  # trained
    kept = {name: p.clone() for name, p in module.named_parameters()}
    drawn = reset(module, names, 3, torch.Generator().manual_seed(0))
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(seed)
    for i in range(3):
        assert_close({name: t[i] for name, t in drawn.items()}, dict(make().state_dict()), rtol=0, atol=0)
    assert_close(dict(module.named_parameters()), kept, rtol=0, atol=0)


def test_the_global_generator_is_left_as_it_was():
    module = nn.Linear(2, 2)
    before = torch.get_rng_state()
    reset(module, ["weight"], 2, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_attention_is_reset_too():
    drawn = reset(nn.MultiheadAttention(4, 2), ["in_proj_weight", "in_proj_bias"], 2)
    assert not torch.equal(*drawn["in_proj_weight"]) and not drawn["in_proj_bias"].any()
