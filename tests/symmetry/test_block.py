"""A block is a view: every entry of it, and no other, is the entry of the tensor that its factors count off."""

from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap
from torch.testing import assert_close

from isoloss.symmetry import Block


@st.composite
def blocks(draw) -> tuple[Block, tuple[int, ...]]:
    """Any block and the shape of a tensor that it lies in."""
    starts, factors, shape = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        nest = [(draw(st.integers(1, 3)), draw(st.integers(1, 4))) for _ in range(draw(st.integers(0, 2)))]
        start, behind = draw(st.integers(0, 3)), draw(st.integers(0, 2))
        starts.append(start)
        factors.append(tuple(nest))
        shape.append(start + 1 + sum((size - 1) * step for size, step in nest) + behind)
    return Block(tuple(starts), tuple(factors)), tuple(shape)


def layouts(shape: tuple[int, ...]) -> list[Tensor]:
    """Tensors of equal values: contiguous, transposed in memory, a strided part of a larger one, with an offset."""
    values = torch.arange(prod(shape), dtype=torch.float64).reshape(shape)
    order = tuple(reversed(range(len(shape))))
    larger = torch.zeros(*(2 * n + 1 for n in shape), dtype=torch.float64)
    part = larger[tuple(slice(1, None, 2) for _ in shape)]
    part.copy_(values)
    return [values, values.permute(order).clone(memory_format=torch.contiguous_format).permute(order), part]


def literal(block: Block, tensor: Tensor) -> Tensor:
    """Entry by entry."""
    out = torch.empty(block.shape, dtype=tensor.dtype)
    counts = [range(size) for axis in block.factors for size, _ in axis]
    for index in product(*counts):
        rest, where = list(index), []
        for start, axis in zip(block.start, block.factors, strict=True):
            where.append(start + sum(rest.pop(0) * step for _, step in axis))
        out[index] = tensor[tuple(where)]
    return out


@settings(max_examples=60, deadline=None, derandomize=True)
@given(blocks())
def test_view_is_what_the_factors_count_off(drawn):
    block, shape = drawn
    for tensor in layouts(shape):
        view = block.view(tensor)
        assert_close(view, literal(block, tensor), rtol=0, atol=0)
        assert tuple(view.shape) == block.shape


@settings(max_examples=60, deadline=None, derandomize=True)
@given(blocks())
def test_view_shares_memory(drawn):
    """Writing into the view writes into the tensor, there and nowhere else."""
    block, shape = drawn
    for tensor in layouts(shape):
        inside = set(literal(block, tensor).flatten().tolist())
        before = tensor.clone()
        block.view(tensor).fill_(-1.0)
        written = set(before[tensor != before].tolist())
        assert written == inside


@settings(max_examples=60, deadline=None, derandomize=True)
@given(blocks())
def test_covers_means_all_of_the_tensor_in_order(drawn):
    block, shape = drawn
    tensor = torch.arange(prod(shape)).reshape(shape)
    entries = literal(block, tensor).flatten()
    everything = entries.numel() == tensor.numel() and torch.equal(entries, tensor.flatten())
    assert block.covers(shape) == everything


def test_whole_is_the_tensor_itself():
    tensor = torch.randn(3, 1, 4)
    block = Block.whole((3, 1, 4))
    assert block.shape == (3, 1, 4) and block.covers((3, 1, 4))
    assert torch.equal(block.view(tensor), tensor)
    assert block.view(tensor).data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("part", range(3), ids=["queries", "keys", "values"])
@pytest.mark.parametrize("layout", ["part, head, width", "head, part, width", "head, width, part"])
def test_the_three_layouts_of_a_fused_weight(part, layout):
    """Rows of one of queries, keys and values, head by head, as einops would name them."""
    heads, width = 4, 5
    sizes = {"part": 3, "head": heads, "width": width}
    names = layout.split(", ")
    step = {n: prod(sizes[m] for m in names[i + 1 :]) for i, n in enumerate(names)}
    weight = torch.randn(3 * heads * width, 7)
    rows = ((heads, step["head"]), (width, step["width"]))
    block = Block((part * step["part"], 0), (rows, ((7, 1),)))
    nested = weight.unflatten(0, [sizes[n] for n in names]).movedim(names.index("part"), 0)
    assert torch.equal(block.view(weight), nested[part])


def test_scalars_and_empty_axes():
    assert Block((), ()).view(torch.tensor(3.0)) == 3.0
    assert Block.whole((0, 2)).view(torch.zeros(0, 2)).shape == (0, 2)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(blocks())
def test_reads_and_replaces_under_vmap_as_it_views(drawn):
    block, shape = drawn
    for tensor in layouts(shape):
        batch = torch.stack([tensor, -tensor], -1)
        read = vmap(block.read, in_dims=-1)(batch)
        assert_close(read, torch.stack([block.view(tensor), -block.view(tensor)]), rtol=0, atol=0)
        assert_close(block.read(tensor), block.view(tensor), rtol=0, atol=0)
        if len(set(literal(block, tensor).flatten().tolist())) < prod(block.shape):
            continue  # entries that are seen twice cannot be given two values
        new = torch.rand(2, *block.shape, dtype=torch.float64)
        replaced = vmap(block.replaced, in_dims=(None, 0))(tensor, new)
        want = tensor.clone()
        block.view(want).copy_(new[1])
        assert_close(replaced[1], want, rtol=0, atol=0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(blocks(), st.data())
def test_a_block_inside_another_shows_what_one_view_after_the_other_does(drawn, data):
    outer, shape = drawn
    starts = [data.draw(st.integers(0, n - 1)) for n in outer.shape]
    steps = [data.draw(st.integers(1, 2)) for _ in outer.shape]
    sizes = [
        data.draw(st.integers(1, (n - 1 - start) // step + 1))
        for n, start, step in zip(outer.shape, starts, steps, strict=True)
    ]
    inner = Block(tuple(starts), tuple(((n, step),) for n, step in zip(sizes, steps, strict=True)))
    both = inner.inside(outer)
    assert both.lies_in(shape)
    for tensor in layouts(shape):
        assert_close(both.view(tensor), literal(inner, literal(outer, tensor)), rtol=0, atol=0)


def test_a_block_inside_a_whole_tensor_is_itself():
    head = Block((4, 0), (((2, 2), (2, 1)), ((3, 1),)))
    assert head.inside(Block.whole((9, 3))) == head
    assert Block.whole((9, 3)).inside(Block.whole((9, 3))) == Block.whole((9, 3))


@pytest.mark.parametrize("shape", [(4, 3), (5, 2), (5,), (5, 3, 1)])
def test_a_block_does_not_lie_in_what_is_too_small_or_of_another_rank(shape):
    block = Block((1, 0), (((2, 3),), ((3, 1),)))
    assert block.lies_in((5, 3))
    assert not block.lies_in(shape)
