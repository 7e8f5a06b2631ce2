"""How many directions in parameter space leave the outputs unchanged: a literal, slow count.

The null space of the Jacobian of the outputs with respect to all parameters, stacked over N inputs, contains the
tangent space of every continuous exact symmetry. With more inputs it can only shrink; where it stops shrinking it is
the complete answer to first order (for piecewise linear networks up to regions that no input visited).

Run as a script, it prints the zoo: ``python tests/nullspace.py [name ...]``.
"""

import copy
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.overrides import TorchFunctionMode


class Double(TorchFunctionMode):
    """Casts to a narrower float, as in many norms, become casts to float64: their rounding hides null directions."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        narrow = (torch.float32, torch.float16, torch.bfloat16)
        kwargs = {
            k: torch.float64 if isinstance(v, torch.dtype) and v in narrow else v
            for k, v in (kwargs or {}).items()
        }
        if func in (Tensor.float, Tensor.half, Tensor.bfloat16):
            return args[0].double()
        return func(
            *(torch.float64 if isinstance(a, torch.dtype) and a in narrow else a for a in args), **kwargs
        )


ROUNDING = (
    1e-14  # singular values below this multiple of the largest are rounding: 45 eps, sums of some 1000 terms
)
SMALL = 1e-9  # a null direction must lie below this; eps = 1e-5 in a norm leaves about 1e-6


@dataclass(frozen=True)
class Nullity:
    """The null space that was measured, and how far it can be trusted."""

    nullity: int
    parameters: int
    inputs: int
    plateaued: bool
    gap: float  # smallest singular value kept / largest dropped, both at least ROUNDING of the largest
    smallest: float  # smallest singular value kept, relative to the largest
    history: tuple[tuple[int, int], ...]  # (number of inputs, nullity)

    @property
    def clear(self) -> bool:
        """Whether the count plateaued and a wide gap parts the zeros from the rest."""
        return self.plateaued and self.gap >= 1e2


def leaves(output: Any) -> Iterator[Tensor]:
    """The floating point tensors of any nested output."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, dict):
        yield from leaves(tuple(output.values()))
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from leaves(part)


def call(model: nn.Module, parameters: dict[str, Tensor], inputs: Any) -> Tensor:
    """All outputs for one set of inputs, as one vector."""
    args, kwargs = (inputs, {}) if isinstance(inputs, tuple) else ((inputs,), {})
    if isinstance(inputs, dict):
        args, kwargs = (), inputs
    buffers = {k: parameters.get(k, b).clone() for k, b in model.named_buffers()}  # batch norm writes to them
    with Double():
        output = functional_call(model, {**parameters, **buffers}, args, kwargs)
    return torch.cat([leaf.flatten() for leaf in leaves(output)])


def stack(inputs: Sequence[Any]) -> Any:
    """A list of equal structures as one structure of stacked tensors."""
    first = inputs[0]
    if isinstance(first, Tensor):
        return torch.stack(list(inputs))
    if isinstance(first, dict):
        return {k: stack([i[k] for i in inputs]) for k in first}
    if isinstance(first, tuple):
        return tuple(stack(list(parts)) for parts in zip(*inputs, strict=True))
    return first


def double(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.double() if inputs.is_floating_point() else inputs
    if isinstance(inputs, dict):
        return {k: double(v) for k, v in inputs.items()}
    return tuple(double(i) for i in inputs) if isinstance(inputs, tuple) else inputs


def jacobian(model: nn.Module, parameters: dict[str, Tensor], inputs: Sequence[Any]) -> Tensor:
    """Rows: every output of every input. Columns: every entry of every parameter, in their order."""

    def one(p: dict[str, Tensor], x: Any) -> Tensor:
        return call(model, p, x)

    last = by_backward(model, parameters, inputs[-1])
    if len(inputs) == 1:
        return last
    try:
        with warnings.catch_warnings():  # batching rules that are missing are only slow
            warnings.simplefilter("ignore", UserWarning)
            blocks = vmap(jacrev(one), in_dims=(None, 0))(parameters, stack(inputs))
        rows = torch.cat([b.flatten(0, 1).reshape(b.shape[:2].numel(), -1) for b in blocks.values()], dim=1)
        # Batching rules can be wrong without a word: torch 2.13 moves cdist's gradient, and that of prelu when
        # the two batch sizes agree. The last input is therefore always done by hand.
        if (rows[-len(last) :] - last).norm() <= 1e-10 * last.norm():
            return rows
    except (RuntimeError, ValueError, NotImplementedError):  # some op has no batching rule
        pass
    return torch.cat([*(by_backward(model, parameters, x) for x in inputs[:-1]), last])


def by_backward(model: nn.Module, parameters: dict[str, Tensor], x: Any) -> Tensor:
    """One backward pass per output."""
    leaves_ = {k: p.detach().requires_grad_() for k, p in parameters.items()}
    with torch.enable_grad():
        outputs = call(model, leaves_, x)
        rows = []
        for y in outputs:
            grads = torch.autograd.grad(y, list(leaves_.values()), retain_graph=True, allow_unused=True)
            zipped = zip(grads, leaves_.values(), strict=True)
            rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zipped]))
    return torch.stack(rows)


def null_space(r: Tensor) -> tuple[int, float, float, Tensor]:
    """Nullity, gap, smallest kept singular value, and an orthonormal basis of the null directions (rows).

    Columns are first scaled to unit length: that changes no nullity, and parameters of small influence no longer
    look like null directions. The cut lies at the widest gap (ratio of neighbours) below SMALL.
    """
    length = r.norm(dim=0)
    scale = torch.where(length > ROUNDING * length.max(), length, torch.ones_like(length))
    _, s, vh = torch.linalg.svd(r / scale)
    n = r.shape[1]
    s = torch.cat([s, s.new_zeros(n - len(s))])
    if s[0] == 0:
        return n, float("inf"), 0.0, torch.eye(n, dtype=r.dtype)
    relative = (s / s[0]).clamp_min(ROUNDING)
    relative = relative.detach()
    ratio = relative[:-1] / relative[1:]
    ratio[relative[1:] > SMALL] = 1.0
    cut = int(ratio.argmax()) + 1 if n > 1 and float(ratio.max()) > 1.0 else n
    kept = float(relative[cut - 1])
    gap = kept / (float(relative[cut]) if cut < n else ROUNDING)
    directions = vh[cut:] / scale
    return n - cut, gap, kept, torch.linalg.qr(directions.T).Q.T if cut < n else directions


def jacobian_nullity(
    model: nn.Module,
    inputs_list: Iterable[Any],
    *,
    names: Sequence[str] | None = None,
    patience: int = 2,
    limit: int = 60_000,
) -> Nullity:
    """Null-space dimension of the Jacobian over as many of the inputs as it takes to plateau.

    Args:
        model: Any module; a float64 copy of its parameters is used.
        inputs_list: Inputs like the example, one after the other (a generator will do); taken in doubling numbers.
        names: Parameters to count, default all (frozen ones too).
        patience: Doublings of N without change after which the nullity counts as plateaued.
        limit: Rows of the Jacobian after which to give up.
    """
    return measure(model, inputs_list, names=names, patience=patience, limit=limit)[0]


def measure(
    model: nn.Module,
    inputs_list: Iterable[Any],
    *,
    names: Sequence[str] | None = None,
    patience: int = 2,
    limit: int = 60_000,
) -> tuple[Nullity, dict[str, Tensor]]:
    """``jacobian_nullity``, and the null directions: per parameter (nullity, *shape)."""
    model = copy.deepcopy(model).double()
    parameters = {k: p.detach().clone() for k, p in model.named_parameters() if names is None or k in names}
    n = sum(p.numel() for p in parameters.values())
    source = iter(inputs_list)
    r = torch.zeros(0, n, dtype=torch.float64)
    total, step, unchanged, rows_seen, history = 0, 1, 0, 0, []
    nullity, gap, kept, directions = n, 1.0, 1.0, torch.eye(n, dtype=torch.float64)
    while unchanged < patience and rows_seen < limit:
        inputs = [double(i) for i in islice(source, step)]
        if not inputs:
            break
        for start in range(0, len(inputs), 64):
            rows = jacobian(model, parameters, inputs[start : start + 64])
            rows_seen += len(rows)
            r = torch.linalg.qr(
                torch.cat([r, rows]), mode="r"
            ).R  # keeps the singular values, forgets the rows
        total, step = total + len(inputs), total + len(inputs)
        if r.shape[0] < n:  # too few rows to have full rank
            continue
        new, gap, kept, directions = null_space(r)
        unchanged = unchanged + 1 if history and new == nullity else 0
        nullity = new
        history.append((total, nullity))
    split = directions.split([p.numel() for p in parameters.values()], dim=1)
    shaped = {k: d.reshape(-1, *p.shape) for (k, p), d in zip(parameters.items(), split, strict=True)}
    return Nullity(nullity, n, total, unchanged >= patience, gap, kept, tuple(history)), shaped


def velocities(
    symmetries: Iterable[Any], tensors: dict[str, Tensor]
) -> Iterator[tuple[Any, dict[str, Tensor]]]:
    """Every exact symmetry with the velocity of the tensors along each direction of its algebra."""
    for symmetry in symmetries:
        if not (symmetry.exact and symmetry.dim):
            continue
        basis = symmetry.group.basis(dtype=torch.float64)
        for element in range(symmetry.dim // len(basis)):
            for direction in basis:
                a = torch.zeros(*symmetry.batch, *direction.shape, dtype=torch.float64)
                a.view(-1, *direction.shape)[element] = direction
                yield symmetry, symmetry.generator(a, tensors)


def doubled(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {k: t.detach().double() for k, t in named if t.is_floating_point()}


def flat(moved: dict[str, Tensor], tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([moved.get(k, torch.zeros_like(t)).flatten() for k, t in tensors.items()])


def orbit_dimension(model: nn.Module, symmetries: Iterable[Any]) -> int:
    """Dimension of the orbit through the parameters: rank of the velocities of all exact symmetries together.

    Symmetries overlap (GL of an adapter lies inside its absorption), so their dimensions must not be summed.
    """
    parameters = doubled(model.named_parameters())
    tensors = parameters | doubled(model.named_buffers())
    rows = [flat(moved, parameters) for _, moved in velocities(symmetries, tensors)]
    return int(torch.linalg.matrix_rank(torch.stack(rows), rtol=SMALL)) if rows else 0


def violations(
    model: nn.Module, symmetries: Iterable[Any], inputs_list: Sequence[Any], *, tolerance: float = 1e-5
) -> list[tuple[Any, float]]:
    """Symmetries that move the outputs, to first order, on inputs that the finder may never have seen.

    Draw them wider than the example: where a unit keeps its sign on the example, what merely holds there looks like
    a symmetry. Each comes with its worst relative change of the outputs per relative change of the tensors, by
    central differences (buffers may move, and torch differentiates by no running statistic): step 1e-5, so a true
    symmetry leaves 1e-10 of third order and eps / 1e-5 = 2e-11 of rounding.
    """
    model, step = copy.deepcopy(model).double(), 1e-5
    tensors = doubled([*model.named_parameters(), *model.named_buffers()])
    wide = [double(x) for x in inputs_list]
    scales = [float(call(model, tensors, x).detach().abs().max()) for x in wide]
    size = torch.cat([t.flatten() for t in tensors.values()]).norm()
    worst: dict[int, tuple[Any, float]] = {}
    for symmetry, moved in velocities(symmetries, tensors):
        h = float(step * size / flat(moved, tensors).norm())
        up, down = (
            {k: t + sign * h * moved[k] if k in moved else t for k, t in tensors.items()} for sign in (1, -1)
        )
        for x, scale in zip(wide, scales, strict=True):
            change = float((call(model, up, x) - call(model, down, x)).detach().abs().max()) / (
                2 * step * scale
            )
            if change > max(tolerance, worst.get(id(symmetry), (None, 0.0))[1]):
                worst[id(symmetry)] = (symmetry, change)
    return list(worst.values())


def draws(entry: Any, limit: int = 4096) -> Iterator[Any]:
    """Random inputs for an entry of the zoo."""
    from zoo import redraw

    example, generator = entry.build()[1], torch.Generator().manual_seed(0)
    for _ in range(limit):
        yield redraw(example, entry.vocabulary, entry.scale, generator)


def table(names: Sequence[str]) -> None:
    """Print expected and measured numbers of the zoo."""
    from zoo import ZOO

    print(
        f"{'entry':32} {'params':>6} {'nullity':>7} {'ledger':>6} {'dim':>5} {'N':>5} {'gap':>8} {'kept':>8} {'s':>5}"
    )
    for name in names or ZOO:
        entry = ZOO[name]
        start = time.perf_counter()
        try:
            model, _ = entry.build()
        except ModuleNotFoundError as error:
            print(f"{name:32} {error}")
            continue
        found = jacobian_nullity(model, draws(entry))
        note = "" if found.nullity == entry.nullity else "   <-- differs"
        note += "" if found.clear else f"   not clear: {found.history}"
        print(
            f"{name:32} {found.parameters:6} {found.nullity:7} {entry.nullity!s:>6} {entry.dimension!s:>5} "
            f"{found.inputs:5} {found.gap:8.0e} {found.smallest:8.0e} {time.perf_counter() - start:5.1f}{note}",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    table(sys.argv[1:])
