"""Theorem 3.4.2: where it holds, where it does not, and what holds instead."""

from math import inf, pi, sqrt

import pytest
import torch

from connect.points import planted
from isoloss.connect import deviation_bound, loss_bound, orbit_curve
from isoloss.groups import PositiveScaling

N = 1001


def deviation(path, chords=101):
    """The largest distance of a point of the chord from a chain of segments (n, d), by brute force."""
    t = torch.linspace(0, 1, chords, dtype=torch.float64)[:, None, None]
    points = (1 - t) * path[0] + t * path[-1]
    start, along = path[:-1], path.diff(dim=0)
    s = ((points - start) * along).sum(-1) / along.square().sum(-1)
    nearest = start + s.clamp(0, 1).unsqueeze(-1) * along
    return float((points - nearest).norm(dim=-1).amin(1).max())


def arc(radius, angle, n=N):
    s = torch.linspace(0, angle, n, dtype=torch.float64)
    return radius * torch.stack([s.cos(), s.sin()], 1)


@pytest.mark.parametrize("angle", [0.1, 1.0, 2.0, pi])
def test_a_circular_arc_attains_the_bound(angle):
    path = arc(2.0, angle)
    chord = float((path[-1] - path[0]).norm())
    for bound in (deviation_bound(0.5, chord), deviation_bound(0.5, chord, 2.0 * angle)):
        # The chain misses (angle / 500)^2 / 8 of the circle, in units of its own height of angle^2 / 8.
        assert bound == pytest.approx(deviation(path[::4]), rel=1e-4)
        assert bound == pytest.approx(2 * (1 - torch.tensor(angle / 2).double().cos().item()), rel=1e-7)


def loss(w):
    r"""A smooth loss, zero on the circle without the cap beyond x = 0.3: (r^2 - 1)^2 + exp(-1 / (x - 0.3))."""
    beyond = w[..., 0] - 0.3
    return (w.square().sum(-1) - 1).square() + torch.where(
        beyond > 0, torch.exp(-1 / beyond.clamp_min(1e-3)), 0.0
    )


def test_the_theorem_fails_as_published_on_an_arc_longer_than_half_a_circle():
    """Counterexample: curvature 1 everywhere, the chord is short, and the level set is not near it."""
    gap = torch.acos(torch.tensor(0.3).double())
    s = torch.linspace(float(gap), 2 * pi - float(gap), 20001, dtype=torch.float64)
    path = torch.stack([s.cos(), s.sin()], 1)
    assert (loss(path) < 1e-20).all()  # all of the curve lies on the level set
    # The level set holds nothing else near the chord: on a grid the loss is positive off the arc.
    x, y = torch.meshgrid(torch.linspace(-1.2, 1.2, 81), torch.linspace(-1.2, 1.2, 81), indexing="ij")
    grid = torch.stack([x, y], -1).double().reshape(-1, 2)
    far = torch.cdist(grid, path[::50]).amin(1) > 0.1
    assert (loss(grid[far]) > 1e-6).all()
    chord = float((path[-1] - path[0]).norm())
    published = deviation_bound(1.0, chord)
    measured = deviation(path[::20])
    assert published == pytest.approx(0.7, rel=1e-6)  # 1 - 0.3: the sagitta of the other arc
    assert measured == pytest.approx(
        sqrt(1 - 0.09), rel=1e-3
    )  # 0.954: the middle of the chord, to either end
    assert measured > published * 1.3
    # With the length it is seen that the hypothesis fails, and the ends are all that is left.
    assert deviation_bound(1.0, chord, length=2 * (pi - float(gap))) >= measured * (1 - 1e-6)


def test_random_curves_obey_the_corrected_bound():
    """Random walks of the direction, curvature at most 1, in three dimensions; some are longer than half a circle."""
    for seed in range(30):
        g = torch.Generator().manual_seed(seed)
        length = 0.5 + 3.0 * torch.rand((), generator=g).item()
        w = torch.randn(3, 3, generator=g, dtype=torch.float64)
        h = length / N
        d, points, direction = (
            0.0,
            [torch.zeros(3, dtype=torch.float64)],
            torch.eye(3, dtype=torch.float64)[0],
        )
        d = w @ torch.stack([torch.linspace(0, 3 * k, N).double().cos() for k in (1, 2, 3)])
        for k in range(N - 1):
            turn = torch.linalg.cross(d[:, k] / d[:, k].norm(), direction) * h  # |T'| <= 1
            direction = direction + turn
            direction = direction / direction.norm()
            points.append(points[-1] + h * direction)
        path = torch.stack(points)
        chord = float((path[-1] - path[0]).norm())
        bound = deviation_bound(1.0, chord, length)
        assert deviation(path[::10]) <= bound * (1 + 1e-3) + 1e-4, seed
        if length <= pi:
            assert bound <= deviation_bound(1.0, chord) + 1e-6


def test_on_an_orbit_the_chord_is_as_near_as_the_bound_says():
    """The curve of a scaling, its curvature and length measured; the bound is for the distance to the curve."""
    _, symmetries, _, a, *_ = planted("relu")
    scalings = symmetries.only(PositiveScaling)
    elements = [s.sample(0.1, dtype=torch.float64) for s in scalings]
    gamma = orbit_curve(a, scalings, elements)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    points = torch.cat([x.flatten(1) for x in gamma(t).values()], 1)
    chord, length = float((points[-1] - points[0]).norm()), float(gamma.length())
    kappa = float(gamma.curvature(t).max()) * (1 + 1e-6)
    assert kappa * length < pi
    bound = deviation_bound(kappa, chord, length * (1 + 1e-9))
    assert 0 < deviation(points) <= bound <= deviation_bound(kappa, chord) * (1 + 1e-6)


def test_straight_and_hopeless_cases():
    assert deviation_bound(0.0, 3.0) == 0.0 == deviation_bound(0.0, 3.0, 3.0)
    assert deviation_bound(1.0, 3.0) == inf  # the published formula has a negative root
    assert deviation_bound(1.0, 3.0, 10.0) == 1.5
    assert deviation_bound(0.01, 1.0) == pytest.approx(
        0.01 / 8, rel=1e-4
    )  # the first-order formula of the text
    assert deviation_bound(1e-9, 1.0) == pytest.approx(1e-9 / 8, rel=1e-12)  # no cancellation
    assert loss_bound(3.0, 0.5) == 1.5


def test_the_loss_on_the_chord_is_bounded_too():
    """Eq. (3.9) for L = |w|^2 / 2 on its circle: Lipschitz constant 1 in the disk."""
    path = arc(1.0, 1.0)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
    change = (((1 - t) * path[0] + t * path[-1]).square().sum(1) / 2 - 0.5).abs().max()
    bound = loss_bound(1.0, deviation_bound(1.0, float((path[-1] - path[0]).norm()), 1.0))
    assert 0.5 * bound < change <= bound


@pytest.mark.parametrize("bad", [-1.0, float("nan"), inf, True])
def test_clear_sentences(bad):
    with pytest.raises(
        ValueError, match="deviation_bound: curvature must be a finite number that is not negative"
    ):
        deviation_bound(bad, 1.0)
    with pytest.raises(
        ValueError, match="a curve is at least as long as its chord; got length 1 for chord 2"
    ):
        deviation_bound(1.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="loss_bound: both numbers must not be negative"):
        loss_bound(-1.0, 1.0)
