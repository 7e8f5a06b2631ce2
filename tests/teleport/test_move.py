import pytest
import torch
from torch.testing import assert_close

from isoloss.teleport._move import Move


def number(x):
    """Limits of factors of which the largest is x."""
    return torch.tensor(min(0.1, x)), torch.tensor(x)


def test_scaling_multiplies_in_place_by_all_factors():
    x, rows, columns = torch.ones(2, 3), torch.tensor([[2.0], [4.0]]), torch.tensor([1.0, 0.5, 8.0])
    address, version = x.data_ptr(), x._version
    move = Move("here")
    move.scale("x", x, [rows, columns], number(8.0))
    assert_close(x, torch.ones(2, 3))
    move.commit()
    assert_close(x, rows * columns, rtol=0.0, atol=0.0)
    assert x.data_ptr() == address
    assert x._version > version  # autograd sees that it has changed


def test_replacing_copies_in_place_and_casts():
    x = torch.ones(3, dtype=torch.bfloat16)
    address = x.data_ptr()
    move = Move("here")
    move.replace("x", x, torch.tensor([0.5, 2.0, 3.0]))
    move.commit()
    assert_close(x, torch.tensor([0.5, 2.0, 3.0], dtype=torch.bfloat16))
    assert x.data_ptr() == address


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_rounds_once(dtype):
    x, rows, columns = torch.randn(50, 40).to(dtype), torch.rand(50, 1) + 0.5, torch.rand(40) + 0.5
    expected = (x.float() * (rows * columns)).to(dtype)
    move = Move("here")
    move.scale("x", x, [rows, columns], number(1.5))
    move.commit()
    assert_close(x, expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("value", "factor", "message"),
    [
        (
            torch.inf,
            1.0,
            r"inf or nan in bad \(it was not finite before\); nothing was changed; use a smaller radius",
        ),
        (torch.nan, 1.0, r"inf or nan in bad \(it was not finite before\)"),
        (3e38, 2.0, r"inf or nan in bad \(its largest entry is 3e\+38 and the largest factor 2\)"),
        (1.0, torch.inf, r"inf or nan in bad \(a factor is zero, infinite or not a number\)"),
        (1.0, 0.0, r"inf or nan in bad \(a factor is zero, infinite or not a number\)"),
        (1.0, torch.nan, r"inf or nan in bad \(a factor is zero, infinite or not a number\)"),
    ],
)
def test_on_failure_nothing_has_changed(value, factor, message):
    good, bad, copied = torch.randn(5), torch.tensor([1.0, value]), torch.randn(4)
    before = [t.clone() for t in (good, bad, copied)]
    move = Move("here")
    move.scale("good", good, [torch.tensor(2.0)], number(2.0))
    move.scale("bad", bad, [torch.tensor(factor)], number(factor))
    move.replace("copied", copied, torch.zeros(4))
    with pytest.raises(ValueError, match=f"here: a move must give finite values; got {message}"):
        move.commit()
    for now, then in zip((good, bad, copied), before, strict=True):
        assert_close(now, then, rtol=0.0, atol=0.0, equal_nan=True)


def test_a_replacement_that_is_not_finite_changes_nothing():
    x, y = torch.randn(3), torch.randn(3)
    before = x.clone()
    move = Move("here")
    move.scale("x", x, [torch.tensor(2.0)], number(2.0))
    move.replace("y", y, torch.tensor([1.0, torch.nan, 0.0]))
    with pytest.raises(ValueError, match=r"got inf or nan in y \(the element is too large for its dtype\)"):
        move.commit()
    assert_close(x, before, rtol=0.0, atol=0.0)


def test_a_cheap_bound_that_fails_is_followed_by_an_exact_check():
    """Large entries meet small factors: the products are finite though the bound is not."""
    x = torch.tensor([3e38, 1.0])
    move = Move("here")
    move.scale("x", x, [torch.tensor([0.5, 4.0])], number(4.0))
    move.commit()
    assert_close(x, torch.tensor([1.5e38, 4.0]))


def test_a_known_bound_is_believed():
    x = torch.tensor([torch.inf])
    move = Move("here")
    move.scale("x", x, [torch.tensor(2.0)], number(2.0), bound=1.0)
    move.commit()
    assert x.isinf().all()


def test_a_new_value_must_have_the_shape():
    with pytest.raises(
        ValueError, match=r"here: a moved tensor keeps its shape; got \(2,\) for x of shape \(3,\)"
    ):
        Move("here").replace("x", torch.ones(3), torch.ones(2))


def test_empty_tensors_and_empty_moves_are_fine():
    move = Move("here")
    move.commit()
    move.scale("x", torch.ones(0, 3), [torch.ones(3)], number(1.0))
    move.commit()


def test_mixed_dtypes_are_checked_together():
    x, y = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.bfloat16)
    move = Move("here")
    move.scale("x", x, [torch.tensor(2.0).double()], number(2.0))
    move.scale("y", y, [torch.tensor(2.0)], number(2.0))
    move.commit()
    assert_close(x, torch.full_like(x, 2.0))
    assert_close(y, torch.full_like(y, 2.0))


@pytest.mark.parametrize(
    ("dtype", "factor"), [(torch.bfloat16, 1e20), (torch.float16, 1e3), (torch.float64, 1e200)], ids=str
)
def test_two_factors_may_overflow_where_one_does_not(dtype, factor):
    """Half precision multiplies them first; a power of Python's floats raises where their product is infinite."""
    x = torch.ones(3, 2, dtype=dtype)
    f = torch.full((1,), factor, dtype=torch.promote_types(dtype, torch.float32))
    move = Move("here")
    move.scale("x", x, [f.expand(3, 1), f.expand(2)], (f[0], f[0]))
    with pytest.raises(ValueError, match="here: a move must give finite values; got inf or nan in x"):
        move.commit()
    assert (x == 1).all()
