"""Meta-gradients: by backpropagation through the steps, in pieces if asked, or by evolution strategies."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from isoloss.learn._state import State
from isoloss.learn._tensors import Tensors
from isoloss.learn._unroll import Loop, Point
from isoloss.learn.training._objective import objective
from isoloss.learn.training._recipe import Recipe


def backprop(
    loop: Loop, recipe: Recipe, point: Point, batches: Sequence[Tensors], first: Tensor
) -> tuple[Tensor, Point]:
    """Meta-losses (n,) of a stretch and where it ends; the meta-gradient is added to the parameters' `grad`."""
    if recipe.segment is None or recipe.segment >= len(batches):
        unrolled = loop.run(point.cut(), batches)
        losses = objective(unrolled.losses, recipe.weights, recipe.objective, first)
        losses.mean().backward()
        return losses.detach(), unrolled.end.cut()
    return _in_segments(loop, recipe, point, batches, first, recipe.segment)


def _in_segments(
    loop: Loop, recipe: Recipe, point: Point, batches: Sequence[Tensors], first: Tensor, length: int
) -> tuple[Tensor, Point]:
    """The same, keeping only every so many steps: from the last segment to the first, each is run again.

    `torch.utils.checkpoint` records by hooks on saved tensors, under which `torch.func.grad` refuses to run.
    """
    pieces = [batches[i : i + length] for i in range(0, len(batches), length)]
    ahead = [*(piece[0] for piece in pieces[1:]), None]
    starts, told = [point.cut()], []
    with torch.no_grad():
        for piece, then in zip(pieces, ahead, strict=True):
            unrolled = loop.run(starts[-1], piece, then)
            told.append(unrolled.losses)
            starts.append(unrolled.end.cut())
    known = torch.cat(told).requires_grad_()
    losses = objective(known, recipe.weights, recipe.objective, first)
    (slopes,) = torch.autograd.grad(losses.mean(), known)
    above: dict[str, Tensor] = {}
    for i, piece in reversed(list(enumerate(pieces))):
        begun = _leaves(starts[i])
        unrolled = loop.run(begun, piece, ahead[i])
        ends = _named(unrolled.end)
        roots = [(unrolled.losses, slopes[i * length : i * length + len(piece)])]
        roots += [(ends[name], slope) for name, slope in above.items() if ends[name].requires_grad]
        torch.autograd.backward([r for r, _ in roots], [s for _, s in roots])
        above = {name: t.grad for name, t in _named(begun).items() if t.grad is not None}
    return losses.detach(), starts[-1]


def evolution(
    loop: Loop,
    recipe: Recipe,
    point: Point,
    batches: Sequence[Tensors],
    first: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Point]:
    r"""The same without backpropagation: antithetic evolution strategies on the stretch.

    .. math:: \nabla \approx \frac{1}{2 m \sigma} \sum_{i=1}^m
        \epsilon_i \bigl(J(\phi + \sigma \epsilon_i) - J(\phi - \sigma \epsilon_i)\bigr)

    All changed meta-optimizers run together, by vmap. The stretch is then walked by the unchanged one.
    """
    named = dict(loop.meta.named_parameters())
    drawn = {
        name: torch.randn(recipe.pairs, *p.shape, generator=generator, dtype=p.dtype).to(p.device)
        for name, p in named.items()
    }
    changed = {
        name: torch.cat([p.detach() + recipe.sigma * drawn[name], p.detach() - recipe.sigma * drawn[name]])
        for name, p in named.items()
    }

    stretch = _Stretch(loop)

    def run(parameters: Tensors) -> Tensor:
        losses = functional_call(
            stretch, {f"meta.{name}": p for name, p in parameters.items()}, (point, batches)
        )
        return objective(losses, recipe.weights, recipe.objective, first).mean()

    with torch.no_grad():
        found = vmap(run)(changed)
        plus, minus = found.chunk(2)
        differences = (plus - minus) / (2 * recipe.pairs * recipe.sigma)
        for name, p in named.items():
            p.grad = torch.einsum("m,m...->...", differences.to(p.dtype), drawn[name])
        unrolled = loop.run(point, batches)
    return objective(unrolled.losses, recipe.weights, recipe.objective, first), unrolled.end.cut()


class _Stretch(nn.Module):
    """A loop as a module, so that the parameters of its meta-optimizer can be exchanged."""

    def __init__(self, loop: Loop):
        super().__init__()
        self.meta, self._loop = loop.meta, loop

    def forward(self, point: Point, batches: Sequence[Tensors]) -> Tensor:
        return self._loop.run(point, batches).losses


def _leaves(point: Point) -> Point:
    """The same values as leaves of a new graph; counters need no gradient."""
    return Point(
        point.weights.requires_grad_(), {k: v.requires_grad_() for k, v in point.state.items()}, point.step
    )


def _named(point: Point) -> State:
    return {"/weights": point.weights, **point.state}
