"""All tensors are written, or none."""

import pytest
import torch
from torch import Tensor, nn

from isoloss.symmetry import write_atomically


def bits(tensors) -> list[bytes]:
    return [t.detach().contiguous().view(torch.uint8).numpy().tobytes() for t in tensors]


def test_everything_is_written_in_place():
    """Addresses survive, and so does what autograd and optimizers know of a parameter."""
    old = [nn.Parameter(torch.randn(3, 2)), torch.randn(4)]
    new = [torch.randn(3, 2), torch.randn(4)]
    addresses, versions = [t.data_ptr() for t in old], [t._version for t in old]
    write_atomically(("ab"[i], old[i], new[i]) for i in range(2))
    assert all(torch.equal(o, n) for o, n in zip(old, new, strict=True))
    assert [t.data_ptr() for t in old] == addresses
    assert all(t._version > v for t, v in zip(old, versions, strict=True))
    assert old[0].requires_grad and old[0].is_leaf


def test_nothing_to_write():
    write_atomically([])
    write_atomically([("empty", torch.zeros(0, 3), torch.zeros(0, 3))])


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_value_that_is_not_finite_stops_everything(bad, dtype):
    """Even in the last tensor: the first is not written either."""
    old = [torch.randn(3).to(dtype), torch.randn(4).to(dtype)]
    new = [torch.randn(3).to(dtype), torch.randn(4).to(dtype)]
    new[1][2] = bad
    before = bits(old)
    with pytest.raises(
        ValueError, match=r"teleport: .* got inf or nan in b \(the group element is too large"
    ):
        write_atomically([("a", old[0], new[0]), ("b", old[1], new[1])], where="teleport")
    assert bits(old) == before


def test_what_is_not_finite_before_is_named_as_the_cause():
    old = torch.tensor([1.0, torch.nan])
    with pytest.raises(ValueError, match="it was not finite before"):
        write_atomically([("a", old, old * 2)])


def test_overflow_of_the_dtype_is_seen_after_the_cast():
    """1e5 is finite in float32 but not in float16, where it would be written."""
    old = [torch.zeros(2), torch.zeros(2, dtype=torch.float16)]
    with pytest.raises(ValueError, match="got inf or nan in b"):
        write_atomically([("a", old[0], torch.ones(2)), ("b", old[1], torch.full((2,), 1e5))])
    assert not old[0].any() and not old[1].any()


def test_large_but_finite_values_pass():
    """No sum over the tensor overflows on the way."""
    old = torch.zeros(100, dtype=torch.float16)
    write_atomically([("a", old, torch.full((100,), 6e4, dtype=torch.float16))])
    assert (old == 6e4).all()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (lambda: torch.zeros(3), lambda: torch.ones(4), r"keeps its shape; got \(4,\) for b of shape \(3,\)"),
        (lambda: torch.zeros(3, device="meta"), lambda: torch.ones(3), "got the meta tensor b; materialize"),
        (lambda: torch.zeros(1).expand(3), lambda: torch.ones(3), "b, whose entries share memory"),
        (lambda: made_in_inference_mode(), lambda: torch.ones(3), "b, an inference tensor"),
    ],
    ids=["shape", "meta", "expanded", "inference"],
)
def test_what_cannot_be_written_stops_everything(old, new, match):
    first, before = torch.zeros(2), old()
    with pytest.raises(ValueError, match=match):
        write_atomically([("a", first, torch.ones(2)), ("b", before, new())])
    assert not first.any()


def made_in_inference_mode() -> Tensor:
    with torch.inference_mode():
        return torch.zeros(3)
