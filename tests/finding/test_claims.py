"""What every pointwise rule of the registry claims, against the function itself: no false claim, and none missed.

Each op stands between linear layers. Which scalings and signs of its arguments come out as a scale or a sign of its
value is measured in float64; as many must be found for each unit, and verification must have nothing to leave out.
"""

import inspect
from collections.abc import Callable
from itertools import product
from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.finding import find
from isoloss.finding.rules import RULES
from isoloss.groups import GeneralLinear, PositiveScaling, SignFlip

WIDTH, GROUPS = 3, (PositiveScaling, SignFlip, GeneralLinear)
aten = torch.ops.aten
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))

# Where the op alone, applied to numbers of either sign, is not a good sample.
SAMPLES: dict[str, list[Callable]] = {
    "add": [lambda h, k: h + k, lambda h: h + 2, lambda h: 2 + h],
    "sub": [lambda h, k: h - k, lambda h: 1 - h],
    "rsub": [lambda h, k: torch.rsub(h, k), lambda h: torch.rsub(h, 2)],
    "mul": [lambda h, k: h * k, lambda h: 3 * h, lambda h: h * h],
    "div": [
        lambda h, k: h / k,
        lambda h: h / 2,
        lambda h: 1 / h,
        lambda h: torch.div(h, 0.2, rounding_mode="floor"),
        lambda h: torch.div(h, 0.2, rounding_mode="trunc"),
        lambda h, k: torch.div(h, k, rounding_mode="floor"),
        lambda h, k: torch.div(h, k, rounding_mode="trunc"),
    ],
    "addcmul": [lambda h, k: torch.addcmul(h, k, k), lambda h, k: torch.addcmul(h, h, k, value=0.5)],
    "addcdiv": [lambda h, k: torch.addcdiv(h, h, k), lambda h, k: torch.addcdiv(h, k * k, k)],
    "lerp": [lambda h, k: torch.lerp(h, k, 0.3)],
    "pow": [
        *(lambda h, n=n: h**n for n in (2, 3, 4, -1, -2)),
        *(lambda h, n=n: h.abs() ** n for n in (0.5, 1.5, -0.5, 0.3141592)),
        lambda h: 2.0**h,
        lambda h, k: h.abs() ** k,
    ],
    "prelu": [lambda h: F.prelu(h, torch.tensor([0.3, 0.2, 0.1], dtype=h.dtype))],
    "where": [
        lambda h, k: torch.where(h > 0, h, k),
        lambda h: torch.where(h > 0, h, 0.0),
        lambda h: torch.where(h > 0, h, 1.0),
        lambda h, k: torch.where(h > 0.1, k, 2 * k),
    ],
    "masked_fill": [lambda h: h.masked_fill(h > 0, 0.0), lambda h, k: h.masked_fill(k > 0, 1.0)],
    "clamp": [
        lambda h: h.clamp(0),
        lambda h: h.clamp(max=0),
        lambda h: h.clamp(-0.2, 0.2),
        lambda h: h.clamp(-0.1, 0.3),
        lambda h: h.clamp(min=0.2),
        lambda h, k: h.clamp(min=k),
    ],
    "clamp_min": [lambda h: aten.clamp_min(h, 0), lambda h: aten.clamp_min(h, 0.1)],
    "clamp_max": [lambda h: aten.clamp_max(h, 0), lambda h: aten.clamp_max(h, 0.1)],
    "hardtanh": [lambda h: F.hardtanh(h, -0.2, 0.2), lambda h: F.hardtanh(h, -0.1, 0.4)],
    "log_sigmoid_forward": [lambda h: aten.log_sigmoid_forward(h)[0]],
    "rrelu_with_noise": [lambda h: aten.rrelu_with_noise(h, torch.zeros_like(h), 0.1, 0.3, False)],
    "threshold": [lambda h: F.threshold(h, 0.1, 0.05)],
    "logit": [lambda h: torch.logit(h, eps=1e-6)],
    "round": [lambda h: torch.round(h, decimals=1)],
    "trunc": [lambda h: (5 * h).trunc()],
    "frac": [lambda h: (5 * h).frac()],
    "floor": [lambda h: (5 * h).floor()],
    "ceil": [lambda h: (5 * h).ceil()],
    "hardshrink": [lambda h: F.hardshrink(h, 0.1)],
    "softshrink": [lambda h: F.softshrink(h, 0.1)],
    **{
        n: [lambda h, n=n: getattr(torch, n)(h.abs())]
        for n in ("sqrt", "rsqrt", "log", "log2", "log10", "lgamma")
    },
    "digamma": [lambda h: torch.digamma(h.abs())],
    **{
        n: [lambda h, k, n=n: getattr(torch, n)(h, k)]
        for n in (
            "atan2",
            "maximum",
            "minimum",
            "fmax",
            "fmin",
            "logaddexp",
            "floor_divide",
            "fmod",
            "remainder",
        )
    },
    "xlogy": [lambda h, k: torch.xlogy(h, k.abs())],
    **{
        n: [
            lambda h, k, n=n: getattr(torch, n)(h, k).double(),
            lambda h, n=n: getattr(torch, n)(h, 0).double(),
            lambda h, n=n: getattr(torch, n)(h, 0.1).double(),
        ]
        for n in ("lt", "le", "gt", "ge")
    },
    "fmod": [lambda h, k: torch.fmod(h, k), lambda h: torch.fmod(h, 0.2)],
    "remainder": [lambda h, k: torch.remainder(h, k), lambda h: torch.remainder(h, 0.2)],
}
# No function of the elements alone, not of real numbers, constant almost everywhere, or random.
ELSEWHERE = (
    "_softmax _log_softmax _safe_softmax glu native_dropout squeeze lift_fresh _to_copy lift to _conj "
    "resolve_conj logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not isin "
    "isnan isinf isfinite nan_to_num eq ne zeros_like new_zeros zero empty_like new_empty ones_like full_like "
    "new_ones new_full fill _prelu_kernel"
).split()
POINTWISE = sorted(
    name.removeprefix("aten::")
    for name, f in RULES.items()
    if inspect.getmodule(f).__name__.rpartition(".")[2] in ("_elementwise", "_arithmetic")  # type: ignore[union-attr]
)
CASES = [
    (name, i, f)
    for name in POINTWISE
    if name not in ELSEWHERE
    for i, f in enumerate(SAMPLES.get(name) or [lambda h, name=name: getattr(aten, name)(h)])
]
# (op, sample): scalings and signs, per unit, that the function has and the rule does not know.
MISSED = {("pow", 8): (1, 0)}  # an exponent that is no small fraction


class Net(nn.Module):
    """The op between linear layers without biases, its arguments well inside (-1, 1)."""

    def __init__(self, f: Callable) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.h, self.out = nn.Linear(4, WIDTH, bias=False), nn.Linear(WIDTH, 2)
            self.k = nn.Linear(4, WIDTH, bias=False) if arguments(f) == 2 else None
        self.f = lambda *a: f(*a)
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(0.4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.f(self.h(x)) if self.k is None else self.f(self.h(x), self.k(x)))


def arguments(f: Callable) -> int:
    return sum(p.default is p.empty for p in inspect.signature(f).parameters.values())


def passes(f: Callable, factors: tuple[float, ...]) -> bool:
    """Does f of the multiplied arguments differ from f by a factor only, one for all numbers?"""
    g = torch.Generator().manual_seed(7)
    given = [
        torch.randn(400, WIDTH, generator=g, dtype=torch.float64).mul(0.3).clamp(-0.9, 0.9) for _ in factors
    ]
    before, after = f(*given), f(*(s * t for s, t in zip(factors, given, strict=True)))
    at = before.isfinite() & after.isfinite()
    assert at.float().mean() > 0.9
    largest = before[at].abs().argmax()
    ratio = after[at][largest] / before[at][largest]
    return bool(((after - ratio * before)[at].abs() <= 1e-9 * (1 + before[at].abs())).all())


def measured(f: Callable) -> tuple[int, int]:
    """How many scalings and how many signs of the arguments the function lets through, for one unit."""
    n, found = arguments(f), []
    # Along (p, q): s ** p and s ** q. Scales between these directions come with special exponents only.
    for values, directions in ((1.3, product((-1, 0, 1, 2), repeat=n)), (-1.0, product((0, 1), repeat=n))):
        good = [d for d in directions if any(d) and passes(f, tuple(values**p for p in d))]
        matrix = torch.tensor(good, dtype=torch.float64) if good else torch.zeros(1, n, dtype=torch.float64)
        found.append(int(torch.linalg.matrix_rank(matrix)))
    return found[0], found[1]


def test_every_pointwise_rule_has_a_sample():
    assert len(CASES) > 100
    assert {*SAMPLES} <= {*POINTWISE} and {*ELSEWHERE} & {n for n, _, _ in CASES} == set()


@pytest.mark.parametrize(("name", "i", "f"), CASES, ids=[f"{n}-{i}" for n, i, _ in CASES])
def test_claims_are_those_of_the_function(name, i, f):
    found = find(Net(f), X)
    assert not [n for n in found.notes if "it is not a symmetry here" in n or "rule" in n]
    # Diagonal matrices of a matrix group are both.
    sizes = {g: sum(s.group.n * prod(s.batch) for s in found if isinstance(s.group, g)) for g in GROUPS}
    scalings, signs = sizes[PositiveScaling] + sizes[GeneralLinear], sizes[SignFlip] + sizes[GeneralLinear]
    scale, sign = measured(f)
    missed = MISSED.get((name, i), (0, 0))
    assert (scalings, signs) == (WIDTH * (scale - missed[0]), WIDTH * (sign - missed[1]))
