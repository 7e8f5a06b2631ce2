"""Null spaces at a point: against a literal twin, at known answers, and what is refused."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from discovery.null_spaces.cases import CASES, literal_jacobians
from isoloss.discovery import Space, null_space
from isoloss.discovery.null_spaces._flat_loss import FlatLoss, vectors

EPS = torch.finfo(torch.float64).eps


@pytest.fixture(params=["linear 2-3-2", "relu with biases", "tanh with biases", "scores 2", "transformer"])
def solved(request):
    case = CASES[request.param]
    params, data = case.params(7), case.data(7)
    return case, params, data, null_space(case.loss, params, data)


def test_it_is_what_the_literal_jacobian_annihilates(solved):
    """Whole: orthonormal, annihilated to rounding, and as large as the rank says."""
    case, params, data, null = solved
    jacobians = literal_jacobians(case.loss, params, data)
    p = jacobians.shape[2]
    for jacobian, basis, dimension in zip(jacobians, null.basis, null.dimension.tolist(), strict=True):
        inside, outside = basis[:, :dimension], basis[:, dimension:]
        assert dimension == p - int(torch.linalg.matrix_rank(jacobian, rtol=1e-8))
        # Each entry is a sum of p products, in two computations.
        assert (jacobian @ inside).abs().max() <= 8 * p * EPS * jacobian.norm()
        assert_close(inside.T @ inside, torch.eye(dimension, dtype=torch.float64), rtol=0, atol=8 * p * EPS)
        assert not outside.any()
    assert null.clear and bool((null.gap >= 1e4).all())


def test_it_is_never_smaller_than_counting_says(solved):
    """p columns and d rows leave p - d dimensions at least, whatever the loss."""
    case, params, data, null = solved
    jacobians = literal_jacobians(case.loss, params, data)
    assert null.outputs == jacobians.shape[1]
    assert int(null.dimension.min()) >= jacobians.shape[2] - jacobians.shape[1]


def test_one_number_leaves_all_but_one_direction_free():
    """So it is for tanh, which has no continuous symmetry that all data share: their number is no discovery."""
    case = CASES["tanh 2-3-2"]
    null = null_space(case.loss, case.params(20), case.data(20))
    assert null.dimension.tolist() == [11] * 20
    assert null.basis.shape == (20, 12, 11) and null.directions.shape == (20, 11, 12)
    assert str(null) == (
        "11 of 12 directions leave the loss unchanged at each of 20 points (1 output, so 11 at the least; "
        "singular values 1e+14 apart)"
    )


def test_points_may_have_null_spaces_of_different_sizes():
    """A unit that is dead at one point frees its three weights there."""
    case = CASES["relu with biases"]
    params, data = case.params(2), case.data(2)
    params["c"][0], params["c"][1, 0], params["c"][1, 1:] = 50.0, -50.0, 50.0
    null = null_space(case.loss, params, data)
    p, d = 17, 2
    assert null.rank.tolist() == [d, d]
    stacked = lambda w, x: torch.stack([case.loss(w, r) for r in x]).flatten()  # noqa: E731
    many = torch.randn(1, 40, 2).expand(2, -1, -1)
    null = null_space(stacked, params, many)
    # All units are on: an affine map of 2 variables, 6 numbers are seen. With one dead, still 6, the other way round:
    # at the second point three incoming weights and two outgoing ones are invisible, and are in the null space.
    assert null.dimension.tolist() == [p - 6, p - 6]
    dead = torch.cat([torch.eye(17)[[0, 1, 6]], torch.eye(17)[[9, 12]]]).double()
    assert (null.directions[1] @ dead.T).norm(dim=0).allclose(torch.ones(5).double())
    assert not (null.directions[0] @ dead.T).norm(dim=0).allclose(torch.ones(5).double())


def test_a_bottleneck_changes_the_dimension_from_point_to_point():
    """W2 W1 of rank 2 has 2 (4 + 4 - 2) tangents; at rank 1 fewer are seen. The padding is zero."""
    product = lambda w, x: (w["b"] @ w["a"]).flatten()  # noqa: E731
    a = torch.randn(2, 2, 4)
    a[1, 1] = 0.0
    b = torch.randn(2, 4, 2)
    b[1, :, 1] = 0.0
    null = null_space(product, {"a": a, "b": b}, torch.zeros(2, 1))
    # delta = B da + dB A: rank 2 (4 + 4 - 2) = 12; with rank one 4 + 4 - 1 = 7.
    assert null.rank.tolist() == [12, 7] and null.dimension.tolist() == [4, 9]
    assert null.basis.shape == (2, 16, 9) and not null.basis[0, :, 4:].any()
    assert str(null).startswith("4 to 9 of 16 directions")


def test_directions_come_in_the_shapes_of_the_parameters():
    case = CASES["relu with biases"]
    null = null_space(case.loss, case.params(3), case.data(3))
    tree = null.tree()
    assert {n: t.shape[2:] for n, t in tree.items()} == {n: t.shape[1:] for n, t in case.params(1).items()}
    assert_close(torch.cat([t.flatten(2) for t in tree.values()], 2), null.directions)


def test_what_nothing_depends_on_is_free():
    null = null_space(lambda w, x: x.sum(), torch.randn(2, 3), torch.randn(2, 1))
    assert null.dimension.tolist() == [3, 3]
    # Beside a point with a gradient, one with rounding in its place has rank zero.
    scaled = null_space(lambda w, x: (x * w).sum(), torch.randn(2, 3), torch.tensor([[1.0], [1e-15]]))
    assert scaled.rank.tolist() == [1, 0]


def test_a_gap_that_is_not_clear_is_said():
    rows = torch.diag(torch.tensor([1.0, 1e-5, 5e-9, 1e-11], dtype=torch.float64))
    null = null_space(lambda w, x: rows @ w, torch.randn(1, 4), torch.randn(1, 1))
    assert not null.clear
    assert "the gap is not clear, the dimension a guess" in str(null)


def test_float32_is_computed_with_in_float64():
    case = CASES["linear 2-2-2"]
    params, data = case.params(4), case.data(4)
    assert params["w1"].dtype == torch.float32
    null = null_space(case.loss, params, data)
    assert null.basis.dtype == torch.float64 and null.clear


def flat_loss(loss, params, data) -> FlatLoss:
    spaces = Space.of(params, "here"), Space.of(data, "here")
    theta, x = vectors(*spaces, params, data, "here")
    return FlatLoss.of(loss, *spaces, (theta[0], x[0]), "here")


class Half(torch.autograd.Function):
    """The identity, whose gradient under vmap is wrong, or missing."""

    @staticmethod
    def forward(ctx, x, wrong):
        ctx.wrong = wrong
        return x.clone()

    @staticmethod
    def backward(ctx, *grads):
        return grads[0], None


@pytest.mark.parametrize("how", ["branch", "no rule"])
def test_what_vmap_cannot_do_is_done_one_by_one(how):
    """A branch on values, or a function without a batching rule: the literal Jacobian all the same."""

    def loss(w, x):
        if how == "no rule":
            return Half.apply(w, False).square() * x.sum()
        return w.square() * x.sum() if float(w[0]) > 0 else w * x.sum()

    params, data = torch.randn(5, 3), torch.randn(5, 2)
    flat = flat_loss(loss, params, data)
    assert flat._at_once(*flat.vectors(params, data)) is None
    found = flat.jacobians(*flat.vectors(params, data))
    assert_close(found, literal_jacobians(loss, params.double(), data.double()), rtol=1e-14, atol=1e-14)


def test_batching_rules_are_not_trusted(monkeypatch):
    """If all samples at once differ from a plain backward pass, samples are done one by one."""
    case = CASES["relu with biases"]
    params, data = case.params(5), case.data(5)
    flat = flat_loss(case.loss, params, data)
    right = flat.jacobians(*flat.vectors(params, data))
    from isoloss.discovery.null_spaces import _flat_loss

    true = _flat_loss.vmap
    monkeypatch.setattr(_flat_loss, "vmap", lambda f, **k: lambda *a: 1.01 * true(f, **k)(*a))
    assert_close(flat.jacobians(*flat.vectors(params, data)), right, rtol=1e-13, atol=1e-13)


def test_the_result_cannot_be_changed():
    null = null_space(lambda w, x: w.sum(), torch.randn(1, 3), torch.randn(1, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        null.outputs = 2  # type: ignore[misc]


# ---------------------------------------------------------------- what is refused


W, X = torch.ones(2, 3), torch.ones(2, 2)
REFUSED = {
    "matrix": (
        lambda w, x: w.outer(x),
        W,
        X,
        r"a real number, or a vector \(d,\); got torch.float64 of shape \(3, 2\)",
    ),
    "number": (lambda w, x: 1.0, W, X, r"a real number, or a vector \(d,\); got 1.0"),
    "integer": (lambda w, x: (w > 0).sum(), W, X, "a real number, .* got torch.int64 of shape"),
    "nan loss": (
        lambda w, x: (w - w).log().sum() * 0,
        W,
        X,
        r"the loss must be finite; got \[nan\] at the first",
    ),
    "error": (lambda w, x: w @ x, W, X, "must run on one sample in float64, .* got RuntimeError"),
    "no key": (lambda w, x: w["a"], W, X, "must run on one sample"),
    "noise": (
        lambda w, x: torch.rand(()).double() * w.sum(),
        W,
        X,
        "the same at every call; got .*part of the data",
    ),
    "nan": (
        lambda w, x: w.sum(),
        W * torch.tensor([[1.0], [torch.nan]]),
        X,
        "parameters must be finite; .* number 1",
    ),
    "inf": (lambda w, x: w.sum(), W, X / 0, "data must be finite; got nan or inf in 2 of 2 samples"),
    "counts": (
        lambda w, x: w.sum(),
        W,
        X[:1],
        "as many samples of data as of parameters, .* got 2 of .* and 1",
    ),
    "none": (lambda w, x: w.sum(), W[:0], X[:0], "one at the least; got 0"),
    "slope": (
        lambda w, x: (w - w[0]).abs().sqrt().sum(),
        W,
        X,
        "derivatives of the loss must be finite; got nan",
    ),
    "words": (lambda w, x: w.sum(), W.long(), X, "samples must be tensors of real numbers"),
    "size": (lambda w, x: w.sum(), torch.zeros(2, 20_000), X, "250,000,000 entries, 2 GB; got 800,000,000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes_are_told(name):
    loss, params, data, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s)null_space: .*{message}"):
        null_space(loss, params, data)


def test_a_loss_cut_from_its_parameters_is_told_from_one_that_does_not_depend_on_them():
    params, data = torch.randn(3, 4), torch.randn(3, 4)
    with pytest.raises(ValueError, match="null_space: the loss must be differentiable in the parameters"):
        null_space(lambda w, x: (w * x).sum().detach(), params, data)
    assert null_space(lambda w, x: x.sum(), params, data).dimension.tolist() == [4, 4, 4]
