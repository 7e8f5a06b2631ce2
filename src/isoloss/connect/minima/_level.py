"""Paths on a level set found numerically, without a symmetry: points of the chord, brought to the set."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from isoloss._checks import is_whole

Residual = Callable[[Tensor], Tensor]

# How much the Jacobian may change between neighbours, seen by its own pseudo-inverse: 1/2 is the bound below which
# Newton's method converges (Kantorovich), so that what lies between is on the same sheet.
CHANGE = 0.5


def project(residual: Residual, points: Tensor, *, steps: int = 50, tolerance: float = 1e-10) -> Tensor:
    r"""Bring points to the set where a function vanishes: Newton steps of least length, halved where they lead up.

    .. math:: w \leftarrow w - J^+ r(w)

    Args:
        residual: r, a vector of shape (d,) to one of shape (r,); differentiated, under vmap.
        points: Shape (*batch, d).
        steps: At most so many.
        tolerance: A norm of the residual that ends them.

    Returns:
        Points of the same shape; those that did not get there are nan.
    """
    flat = points.reshape(-1, points.shape[-1]).clone()
    value = vmap(residual)(flat)
    norms = torch.linalg.vector_norm(value, dim=-1)
    slope = vmap(jacrev(residual))
    for _ in range(steps):
        left = (norms > tolerance).nonzero().squeeze(-1)  # the others are there, or lost to nan
        if not len(left):
            break
        here = flat[left]
        move = _least(slope(here), value[left].unsqueeze(-1)).squeeze(-1)
        there, new = here - move, vmap(residual)(here - move)
        for _ in range(4):
            worse = (~(torch.linalg.vector_norm(new, dim=-1) <= norms[left])).nonzero().squeeze(-1)
            if not len(worse):
                break
            move[worse] = move[worse] / 2
            there[worse] = here[worse] - move[worse]
            new[worse] = vmap(residual)(there[worse])
        flat[left], value[left] = there, new
        norms[left] = torch.linalg.vector_norm(new, dim=-1)
    return torch.where((norms <= tolerance).unsqueeze(-1), flat, torch.nan).reshape(points.shape)


def _least(jacobian: Tensor, value: Tensor) -> Tensor:
    """The least columns that a Jacobian takes to the values; where its rows depend on one another, nearly so."""
    gram = jacobian @ jacobian.mT
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    size = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] + torch.finfo(gram.dtype).tiny
    # Damped by rounding only: the next step takes back what that costs.
    solved = torch.linalg.solve_ex(gram + 1e-14 * size * eye, value).result
    return jacobian.mT @ solved


def shortest(points: Tensor, count: int) -> Tensor:
    """So many of the points, (N, d), those of least norm, in the order given."""
    kept = torch.linalg.vector_norm(points, dim=-1).argsort()[:count]
    return points[kept.sort().values]


@dataclass(frozen=True)
class LevelPath:
    """A chain of points on a level set.

    Attributes:
        points: Shape (n, d), from one end to the other.
        connected: Does Newton's method lead from every point to the next, judged by the change of the Jacobian?
        step: The largest step.
    """

    points: Tensor = field(repr=False)
    connected: bool
    step: float

    def __bool__(self) -> bool:
        return self.connected


def level_path(residual: Residual, a: Tensor, b: Tensor, n: int = 65) -> LevelPath:
    """Look for a path on the set where a function vanishes, near the chord.

    "Connected" is a finding in floating-point numbers, not a proof; "not connected" only says that this chord leads to
    a jump: another way may exist, for instance over further points, which `components` tries.

    Args:
        residual: As in `project`.
        a: One end, shape (d,), on the set.
        b: The other.
        n: Points to begin with; the path that is returned has 4 n - 3.

    Raises:
        ValueError: If an end is not on the set, or n is no such number.
    """
    if not is_whole(n, least=3):
        raise ValueError(f"level_path: n must be a whole number of at least 3; got {n!r}; 65 is the default.")
    for name, end in (("first", a), ("second", b)):
        size = float(torch.linalg.vector_norm(residual(end)))
        if not size <= 1e-6:
            raise ValueError(
                f"level_path: both ends must lie on the set; got a residual of {size:.2g} at the {name}; "
                "bring it there: project(residual, point)."
            )
    points, connected, step = _chords(residual, a[None], b[None], n)
    return LevelPath(points[0], bool(connected[0]), float(step[0]))


def _chords(residual: Residual, a: Tensor, b: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Paths near many chords, (pairs, d) each: points (pairs, m, d), whether they are connected, largest steps."""
    t = torch.linspace(0, 1, n, dtype=a.dtype, device=a.device)[:, None]
    chord = (1 - t) * a.unsqueeze(1) + t * b.unsqueeze(1)
    path = torch.cat([a.unsqueeze(1), project(residual, chord[:, 1:-1], steps=12), b.unsqueeze(1)], 1)
    for _ in range(2):
        middle = project(residual, (path[:, 1:] + path[:, :-1]) / 2, steps=8)
        path = torch.cat([torch.stack([path[:, :-1], middle], 2).flatten(1, 2), path[:, -1:]], 1)
    # What could not be brought to the set is nan, and comparisons with it are false.
    whole = path.isfinite().all(-1).all(-1).nonzero().squeeze(-1)
    connected = torch.zeros(len(a), dtype=torch.bool, device=a.device)
    if len(whole):
        jacobians = vmap(vmap(jacrev(residual)))(path[whole])
        change = torch.linalg.matrix_norm(_least(jacobians[:, :-1], jacobians.diff(dim=1)))
        connected[whole] = (change <= CHANGE).all(1)
    return path, connected, torch.linalg.vector_norm(path.diff(dim=1), dim=-1).amax(1)
