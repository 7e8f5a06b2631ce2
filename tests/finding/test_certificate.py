"""The certificate: complete where it should be, not where a symmetry is left out, and never by accident."""

import dataclasses
import json
from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finding.searching import differences, snapshot
from finding.spans import rank, tangents
from isoloss.finding import find
from isoloss.finding._certificate import Certificate, certificate
from isoloss.finding._complement import ROUNDING, SMALL, Complement, cut
from isoloss.finding._jacobian import Jacobian
from isoloss.finding._world import copy_in_float64
from isoloss.groups import GeneralLinear, PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetry, named_tensors
from nullspace import by_backward, draws, jacobian_nullity
from zoo import ZOO

# One of each kind: what theory says of them is in the zoo.
WHOLE = (
    "mlp_relu mlp_tanh mlp_square mlp_softmax gate_swiglu deep_linear_no_bias deep_linear_three deep_linear_bottleneck "
    "bilinear_form radial_activation embedding_tied weight_norm_both lora_trainable attention_softmax mha_fast "
    "qk_layernorm rope_half gpt_untied conv2d conv_grouped batchnorm_train_relu layernorm_linear rmsnorm_without_eps "
    "rnn_tanh lstm loop_linear unit_cumsum"
).split()


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.fixture(scope="module", params=WHOLE)
def certified(request) -> tuple:
    entry = ZOO[request.param]
    model, inputs = entry.build()
    found = find(model, inputs)
    return entry, found, certificate(model, inputs, found, vocabulary=entry.vocabulary or None)


# ---------------------------------------------------------------- against the slow twin and the ledger


def test_null_space_is_that_of_the_slow_twin(certified):
    entry, _, proof = certified
    model, _ = entry.build()
    assert proof.plateaued
    assert proof.nullity == jacobian_nullity(model, draws(entry)).nullity == entry.nullity


def test_orbit_has_the_dimension_that_theory_says(certified):
    entry, _, proof = certified
    assert proof.orbit_dimension == entry.dimension
    assert proof.complete == (entry.dimension == entry.nullity)


def test_zeros_and_the_rest_are_far_apart(certified):
    assert certified[2].gap >= 1e6


def test_a_symmetry_left_out_is_missed(certified):
    """Exactly the dimensions that only it reaches are unexplained, counted anew from the velocities."""
    entry, found, whole = certified
    model, inputs = entry.build()
    tensors = {n: t.detach().double() for n, t in named_tensors(model).items()}
    parameters = [n for n, _ in model.named_parameters()]
    exact = [s for s in found if s.exact and s.dim]
    for left_out in exact[:1] + exact[-1:]:
        rest = [s for s in exact if s is not left_out]
        lost = whole.orbit_dimension - rank(tangents(rest, tensors, parameters))
        proof = certificate(model, inputs, rest, vocabulary=entry.vocabulary or None, points=1)
        assert (proof.orbit_dimension, proof.nullity) == (whole.orbit_dimension - lost, whole.nullity)
        assert proof.complete == (whole.complete and not lost)


# ---------------------------------------------------------------- known answers


def test_relu_network_is_complete():
    model = mlp()
    proof = certificate(model, torch.randn(3, 4))
    assert (proof.complete, proof.orbit_dimension, proof.nullity) == (True, 11, 11)
    assert proof.parameters == sum(p.numel() for p in model.parameters())
    assert proof.unexplained == ()


LINEAR = {(3, 4, 2): True, (5, 3, 3, 4): True, (4, 2, 3, 4): False}


@pytest.mark.parametrize("widths", LINEAR, ids=str)
def test_deep_linear_network_without_bias_is_complete(widths):
    """The product alone is seen; behind a bottleneck a wider layer is free beyond its GL."""
    layers = [nn.Linear(i, o, bias=False) for i, o in zip(widths, widths[1:], strict=False)]
    proof = certificate(nn.Sequential(*layers), torch.randn(2, widths[0]))
    r = min(widths)
    assert proof.nullity == proof.parameters - r * (widths[0] + widths[-1] - r)
    assert proof.complete == LINEAR[widths]


def test_attention_without_its_scores_is_not_complete():
    model, inputs = ZOO["attention_softmax"].build()
    found = find(model, inputs)
    scores = [s for s in found if isinstance(s.group, GeneralLinear)][0]
    proof = certificate(model, inputs, [s for s in found if s is not scores])
    assert not proof.complete
    assert proof.nullity - proof.orbit_dimension == scores.dim
    assert set(proof.unexplained) <= set(scores.parameters)


def test_symmetries_counted_twice_count_once():
    model, inputs = mlp(), torch.randn(3, 4)
    found = list(find(model, inputs))
    assert certificate(model, inputs, found + found).orbit_dimension == 11


def test_scalings_up_to_eps_are_neither_counted_nor_needed():
    model = nn.Sequential(
        nn.Linear(3, 5), nn.LayerNorm(5, elementwise_affine=False), nn.Tanh(), nn.Linear(5, 2)
    )
    found = find(model, torch.randn(4, 3))
    assert any(s.dim and not s.exact for s in found)
    proof = certificate(model, torch.randn(4, 3), found)
    assert proof.complete
    assert proof.orbit_dimension == sum(s.dim for s in found if s.exact)


def test_running_means_count_where_a_bias_slides_into_them():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.Tanh(), nn.Linear(4, 2)).eval()
    proof = certificate(model, torch.randn(5, 3))
    assert proof.parameters == sum(p.numel() for p in model.parameters()) + 4
    assert proof.complete and proof.orbit_dimension == 4


def test_running_means_do_not_count_in_training():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).train()
    proof = certificate(model, torch.randn(5, 3))
    assert proof.parameters == sum(p.numel() for p in model.parameters())
    assert proof.complete and proof.orbit_dimension == 4  # the bias before the mean


def test_frozen_parameters_may_be_held():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(3, 3)
    model[2].weight.requires_grad_(False)
    proof = certificate(model, x, frozen="hold")
    assert (proof.complete, proof.nullity, proof.parameters) == (True, 0, 18)
    assert certificate(model, x).nullity == 4


def test_words_that_never_come_are_unexplained():
    model = nn.Sequential(nn.Embedding(7, 2), nn.Linear(2, 6))
    example = torch.tensor([[0, 3, 4]])
    narrow = certificate(model, example, points=1)
    assert not narrow.complete
    assert narrow.missing == 2 * 2 and narrow.unexplained[0] == "0.weight"
    assert certificate(model, example, vocabulary=7).complete


def test_masks_and_lists_and_names_pass():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor, mask: Tensor, scale: float) -> dict[str, Tensor]:
            assert mask.tolist() == [True, False]
            h = F.relu(self.a(x)).masked_fill(~mask[:, None], 0.0)
            return {"y": scale * self.b(h), "picked": self.b(h).argmax(-1)}

    inputs = {"x": torch.randn(2, 3), "mask": torch.tensor([True, False]), "scale": 2.0}
    assert certificate(Masked(), inputs).orbit_dimension == 4


# ---------------------------------------------------------------- plateau and budget


def test_nullity_only_shrinks_and_inputs_double():
    proof = certificate(mlp(), torch.randn(1, 4), budget=64, points=1)
    inputs, nullity = zip(*proof.history, strict=True)
    assert list(inputs) == [2**k for k in range(len(inputs))]
    assert list(nullity) == sorted(nullity, reverse=True)


def test_a_spent_budget_is_undecided():
    proof = certificate(mlp(), torch.randn(1, 4), budget=3, points=2)
    assert [n for n, _ in proof.history] == [1, 2, 3]
    assert not proof.plateaued and not proof.complete
    assert str(proof).startswith(
        "undecided: the orbit has dimension 11, the null space of the Jacobian at most "
    )


def test_a_dead_unit_looks_like_a_symmetry_until_it_wakes():
    """The design's caveat. At other points the unit is alive."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1], [1.0]]))
        model[0].bias.copy_(torch.tensor([-3.0, 0.0]))
    proof = certificate(model, torch.randn(4, 1), points=1)
    assert proof.plateaued and not proof.complete
    assert proof.nullity - proof.orbit_dimension == 3 - 1  # two weights and a bias, one scaling
    proof = certificate(model, torch.randn(4, 1), points=20)
    assert proof.complete and proof.points > 1


# ---------------------------------------------------------------- its parts


def test_jacobian_is_that_of_single_backward_passes():
    for name in ("mlp_prelu_channel", "rbf_cdist", "gpt_tied", "lstm", "batchnorm_train_relu"):
        model, inputs = ZOO[name].build()
        twin = copy_in_float64(model)
        parameters = dict(twin.named_parameters())
        x = inputs.double() if inputs.is_floating_point() else inputs
        jacobian = Jacobian(twin, parameters, torch.Generator().manual_seed(0))
        plain = by_backward(twin, parameters, x)
        rows = jacobian.rows((x,), {})
        if len(plain) <= jacobian.columns:
            torch.testing.assert_close(rows, plain, rtol=1e-12, atol=1e-12)


def test_many_outputs_are_mixed():
    twin = copy_in_float64(nn.Linear(2, 3))
    parameters = dict(twin.named_parameters())
    rows = Jacobian(twin, parameters, torch.Generator().manual_seed(0)).rows(
        (torch.randn(50, 2).double(),), {}
    )
    assert rows.shape == (9, 9)
    assert torch.linalg.matrix_rank(rows) == 9


class Doubled(torch.autograd.Function):
    """Twice x; its backward pass has no batching rule, or a wrong one."""

    @staticmethod
    def forward(ctx, x: Tensor, wrong: bool) -> Tensor:
        ctx.wrong = wrong
        return 2 * x

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (g,) = grads
        batched = torch._C._functorch.is_batchedtensor(g)
        if batched and not ctx.wrong:
            raise RuntimeError("no batching rule")
        return (3 if batched else 2) * g, None


@pytest.mark.parametrize("wrong", [False, True], ids=["none", "wrong"])
def test_batching_rules_are_not_trusted(wrong):
    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(Doubled.apply(torch.tanh(super().forward(x)), wrong))

    twin = copy_in_float64(Net(3, 3))
    x = torch.randn(4, 3).double()
    parameters = dict(twin.named_parameters())
    rows = Jacobian(twin, parameters, torch.Generator().manual_seed(0)).rows((x,), {})
    torch.testing.assert_close(rows, by_backward(twin, parameters, x), rtol=1e-12, atol=1e-12)


def test_complement_finds_null_spaces_of_every_spectrum():
    """Across nine orders of magnitude, in one go or row by row, and rows that come late."""
    for n, full in ((5, 0), (5, 5), (40, 17), (600, 590)):
        generator = torch.Generator().manual_seed(n + full)
        v = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
        s = torch.logspace(0, -9, full, dtype=torch.float64) if full else torch.zeros(0, dtype=torch.float64)
        mixed = torch.linalg.qr(torch.randn(2 * n, full, generator=generator, dtype=torch.float64)).Q
        rows = mixed * s @ v[:, :full].T
        for size in (2 * n, 7):
            space = Complement(torch.eye(n, dtype=torch.float64))
            for block in rows.split(size):
                space.add(block)
            null, basis = space.null(), space.directions()
            assert null.dimension == n - full == basis.shape[1]
            assert null.kept / null.dropped > 1e3
            torch.testing.assert_close(basis.T @ basis, torch.eye(n - full, dtype=torch.float64))
            assert (v[:, :full].T @ basis).abs().max() < 1e-5 if 0 < full < n else True


def test_cut_is_at_the_widest_gap():
    def at(*values: float) -> int:
        return cut(torch.tensor(values, dtype=torch.float64))

    assert at() == 0
    assert at(1.0, 0.1, 2e-8) == 3  # all above SMALL count
    assert at(1.0, 1e-15) == 1
    assert at(1.0, 1e-6, 1e-9, 1e-10, 1e-15) == 4
    assert at(1.0, 1e-12, 1e-13) == 1
    assert at(1e-12) == 0
    assert ROUNDING < SMALL


# ---------------------------------------------------------------- words, and what it must not do


def test_it_reads_as_a_sentence():
    proof = Certificate(True, 11, 11, 80, 16, 1, True, 3e11)
    assert str(proof) == (
        "complete: the orbit has dimension 11, and so has the null space of the Jacobian "
        "(80 parameters, 16 inputs, 1 point, singular values 3e+11 apart)"
    )
    worse = dataclasses.replace(proof, complete=False, orbit_dimension=10, unexplained=("0.weight",))
    assert str(worse).endswith("; 1 direction unexplained, in 0.weight")
    with pytest.raises(dataclasses.FrozenInstanceError):
        proof.complete = False  # type: ignore[misc]


def test_it_fits_in_json():
    json.dumps(dataclasses.asdict(certificate(nn.Linear(2, 2), torch.randn(1, 2))), allow_nan=False)
    # Nothing moves the outputs, so that nothing is kept.
    silent = certificate(nn.Embedding(3, 2), torch.zeros(0, dtype=torch.int64), [])
    assert silent.nullity == silent.parameters
    json.dumps(dataclasses.asdict(silent), allow_nan=False)


def test_it_is_the_same_every_time():
    model, x = mlp(), torch.randn(2, 4)
    torch.manual_seed(1)
    first = certificate(model, x, budget=32)
    torch.manual_seed(2)
    assert certificate(model, x, budget=32) == first
    assert certificate(model, x, budget=32, seed=1) != first


def test_the_model_stays_as_it_was():
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 2)
    ).train()
    x = torch.randn(6, 3)
    model(x).sum().backward()
    before = snapshot(model, x)
    certificate(model, x)
    assert differences(before, snapshot(model, x)) == []


def test_large_models_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"1,000 at the most; got 3,000; .* pass limit=3000 and wait"):
        certificate(nn.Linear(100, 30, bias=False), torch.randn(1, 100), [], limit=1000)


def test_what_is_no_symmetry_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    wrong = Symmetry(PositiveScaling(4), (Slot("0.weight", Block.whole((4, 3)), (0,)),))
    with pytest.raises(
        ValueError, match=r"must not change the outputs; got R\+\^4 on 0.weight, which does to first"
    ):
        certificate(model, torch.randn(2, 3), [wrong])


def test_inputs_that_do_not_run_are_told():
    with pytest.raises(
        ValueError, match="on random inputs like the example; got IndexError: .* pass vocabulary="
    ):
        certificate(nn.Embedding(3, 2), torch.tensor([0, 2]), [], vocabulary=50)


def test_every_direction_of_the_algebra_is_used():
    """Symmetries with batches and matrix groups: the orbit of attention alone, counted by hand."""
    model, inputs = ZOO["attention_softmax"].build()
    found = [s for s in find(model, inputs) if isinstance(s.group, GeneralLinear)]
    assert any(s.batch for s in found)
    assert certificate(model, inputs, found).orbit_dimension == sum(
        prod(s.batch) * s.group.n**2 for s in found
    )
