"""What section 6.4 claims, where it needs a condition, and where a proof as printed does not do."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.testing import assert_close

from discovery.extension.models import Between, unseen
from isoloss.discovery.extension import extend
from isoloss.discovery.extension._extend import unchecked
from isoloss.finding import find
from isoloss.groups import GeneralLinear, PositiveScaling, Translation
from isoloss.symmetry import named_tensors


class TwoLayers(nn.Module):
    """U sigma(V X), with X as rows."""

    def __init__(self, h: int, sigma: nn.Module):
        super().__init__()
        self.v, self.sigma, self.u = nn.Linear(3, h, bias=False), sigma, nn.Linear(h, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.u(self.sigma(self.v(x)))


def units(start: int, stop: int) -> dict:
    """Rows of V and columns of U."""
    return {
        "v.weight": ("v.weight", slice(start, stop)),
        "u.weight": ("u.weight", (slice(None), slice(start, stop))),
    }


def x(n: int = 8) -> Tensor:
    return torch.randn(n, 3)


@pytest.mark.parametrize("sigma", [nn.LeakyReLU(), nn.Tanh(), nn.Identity()], ids=repr)
@pytest.mark.parametrize("start", [0, 3])
def test_corollary_6_4_2_holds_for_functions_of_each_entry(sigma, start):
    found = find(TwoLayers(4, sigma), x())
    assert len(found)
    for s in found:
        assert extend(s, into=TwoLayers(7, sigma), at=units(start, start + 4), inputs=x()).error < 1e-10


def test_corollary_6_4_2_holds_for_functions_of_each_row():
    """A row is a unit over all samples: batch norm in training is such a function, and removes scales up to eps."""
    found = find(TwoLayers(4, nn.BatchNorm1d(4, affine=False, track_running_stats=False)).train(), x())
    (scaling,) = found.only(PositiveScaling)[:1]
    wide = TwoLayers(7, nn.BatchNorm1d(7, affine=False, track_running_stats=False)).train()
    assert extend(scaling, into=wide, at=units(0, 4), inputs=x()).error < 1e-2


def test_corollary_6_4_2_needs_a_function_of_each_row():
    """Softmax over the units: all logits may shift together, but not the first four of seven."""
    narrow, wide = (TwoLayers(h, nn.Softmax(-1)) for h in (4, 7))
    (shift,) = [s for s in find(narrow, x()).only(Translation) if s.parameters == ("v.weight",)]
    with pytest.raises(ValueError, match="the outputs changed by"):
        extend(shift, into=wide, at=units(0, 4), inputs=x())
    # It is the units that stay behind that break it: all of them together may shift.
    assert extend(shift, into=TwoLayers(4, nn.Softmax(-1)), at=units(0, 4), inputs=x()).error < 1e-10


def test_the_proof_of_corollary_6_4_2_needs_its_parts_exchanged():
    """(D.4) puts the other h' - h units in the place of f, which need not have the symmetry: here they are one unit.

    With f made of the first h units, as the text says before, the proof goes through.
    """
    narrow, wide = TwoLayers(2, nn.Identity()), TwoLayers(3, nn.Identity())
    (s,) = find(narrow, x()).only(GeneralLinear)
    with pytest.raises(ValueError, match=r"blocks must lie in .* shape \(2, 3\) .* has shape \(1, 3\)"):
        extend(s, into=wide, at=units(2, 3), inputs=x())
    assert extend(s, into=wide, at=units(0, 2), inputs=x()).error < 1e-10


def test_a_symmetry_of_the_narrow_networks_loss_is_none_of_the_wide_ones():
    """f must return what stays: a rotation of the narrow outputs keeps their squares, and no sum with others."""

    class Squares(TwoLayers):
        def forward(self, x):
            return super().forward(x).square().sum(-1)

    found = find(Squares(4, nn.Tanh()), x()).where(lambda s: s.parameters == ("u.weight",) and s.dim > 0)
    assert [s.group.name for s in found] == ["O(2)"]
    with pytest.raises(ValueError, match="the outputs changed by"):
        extend(found[0], into=Squares(7, nn.Tanh()), at=units(0, 4), inputs=x())
    whole = nn.Sequential(Squares(4, nn.Tanh()), nn.Tanh())
    assert extend(found[0], into=whole, at="0", inputs=x()).error < 1e-10


def test_corollary_6_4_3_needs_layers_that_share_no_weights():
    """Param is a product: theta_i is layer i's alone. A layer that runs twice loses its data-dependent symmetry."""
    for times, stays in ((1, True), (2, False)):
        model, data = Between(times).double(), torch.randn(3, 4, dtype=torch.float64)
        symmetry = unchecked(unseen(), model, "f", data)
        moved = symmetry.act(torch.ones(2, dtype=torch.float64), named_tensors(model))
        change = (functional_call(model, moved, (data,)) - model(data)).detach().abs().max()
        assert (float(change) < 1e-12) == stays
        assert stays or float(change) > 1e-4


def test_proposition_6_4_1_gives_an_action():
    """Identity and composition for an exact symmetry of a part: as in the part, to rounding."""
    part = TwoLayers(4, nn.LeakyReLU())
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), part, nn.Tanh()).double()
    tensors = {n: t.detach() for n, t in named_tensors(model).items()}
    for s in find(part, x()):
        e = extend(s, into=model, at="2", inputs=x())
        dtype = torch.float64 if e.dim else torch.int64
        g, h = (s.sample().to(dtype) for _ in range(2))
        one = tensors | e.act(h, tensors)
        assert_close(e.act(g, one), e.act(s.group.compose(g, h), tensors), rtol=1e-12, atol=1e-12)
        assert_close(e.act(e.identity(dtype=dtype), tensors), {n: tensors[n] for n in e.parameters})


def test_a_layer_of_torchs_own_transformer_in_evaluation():
    """Where torch may take a fused path, which would run none of the submodules."""
    layer = nn.TransformerEncoderLayer(6, 2, 6, batch_first=True).eval()
    tokens = torch.randn(1, 2, 6)
    e = extend(unseen(), into=layer, at="linear1", inputs=tokens, as_data=lambda t: t.flatten(0, 1))
    with torch.no_grad():
        before = layer(tokens)
        moved = e.act(e.sample(), named_tensors(layer))
        after = functional_call(layer, moved, (tokens,))
        others = torch.randn(4, 5, 6)
        away = functional_call(layer, moved, (others,)) - layer(others)
    # Float32, some hundred roundings.
    assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert float(away.abs().max()) > 1e-3
    exact = find(layer.self_attn, (tokens, tokens, tokens))
    assert len(exact) and all(
        extend(s, into=layer, at="self_attn", inputs=tokens).error < 1e-10 for s in exact
    )
