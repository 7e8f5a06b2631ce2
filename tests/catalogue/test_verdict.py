"""The numeric test of kinds: implications, controls that must fail, its tolerance and its confidence."""

import pytest
import torch

from isoloss.catalogue import CATALOGUE, Kind, Problem, is_symmetry

FEW = {"samples": 500, "draws": 3}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def taken(name, seed=0):
    """The transformation of a random element, and the problem."""
    entry = CATALOGUE[name]
    example = entry.example()
    g = example.sample(seeded(seed))
    return entry.transformation(g, example), example.problem


def squared(problem):
    """The same with a loss per sample."""
    return Problem(
        problem.network,
        problem.draw_parameters,
        problem.draw_data,
        lambda y, data: (y.flatten(1) - 0.3).square().sum(1),
    )


# ---------------------------------------------------------------- implications (the lines after Def. 1.3.6)


@pytest.mark.parametrize("name", [e.name for e in CATALOGUE.of_kind(Kind.NETWORK)])
def test_a_symmetry_of_the_network_is_one_of_every_other_kind(name):
    transformation, problem = taken(name, 3)
    for kind in Kind.NETWORK.implies:
        for of in ("network", "loss") if kind is not Kind.LOSS else ("loss",):
            verdict = is_symmetry(transformation, squared(problem), kind, of=of, **FEW)
            assert verdict.holds, str(verdict)


def test_a_symmetry_of_the_loss_is_a_data_dependent_and_a_distribution_one_of_the_loss():
    transformation, problem = taken("Self-supervised linear network")
    assert set(Kind.LOSS.implies) == {Kind.DATA_DEPENDENT, Kind.DISTRIBUTION}
    for kind in (Kind.LOSS, *Kind.LOSS.implies):
        verdict = is_symmetry(transformation, problem, kind, of="loss", **FEW)
        assert verdict.holds and verdict.decisive, str(verdict)


# ---------------------------------------------------------------- no implication backwards


def test_a_symmetry_of_the_loss_need_not_be_one_of_the_network():
    """Ex. 1.3.2: codes are rotated."""
    transformation, problem = taken("Self-supervised linear network")
    assert is_symmetry(transformation, problem, "loss").holds
    for kind in ("neural network", "data-dependent"):
        verdict = is_symmetry(transformation, problem, kind)
        assert not verdict.holds and verdict.error > 1e6 * verdict.tolerance


def test_a_data_dependent_symmetry_need_not_hold_elsewhere():
    """Ex. 1.3.5: kept on its sample, changed on others, and on average over them."""
    transformation, problem = taken("Two-layer network, one sample")
    assert is_symmetry(transformation, problem, "data-dependent", batch=1).holds
    assert is_symmetry(transformation, squared(problem), "data-dependent", of="loss", batch=1).holds
    for kind in ("neural network", "distribution"):
        assert not is_symmetry(transformation, problem, kind, batch=1).holds
    assert not is_symmetry(transformation, squared(problem), "loss", batch=1).holds


def test_a_distribution_symmetry_need_not_hold_on_any_sample():
    """Ex. 1.3.7: the mean residual stays, single ones do not, nor does the mean of their squares."""
    transformation, problem = taken("Residual of a linear model")
    verdict = is_symmetry(transformation, problem, "distribution")
    assert verdict.holds and verdict.decisive and verdict.confidence == 0.999
    for kind, of in (("neural network", None), ("loss", None), ("data-dependent", "network")):
        assert not is_symmetry(transformation, problem, kind, of=of).holds
    assert not is_symmetry(transformation, problem, "distribution", of="loss").holds


def test_kinds_name_their_definitions():
    assert [k.definition for k in Kind] == ["1.2.1", "1.3.1", "1.3.4", "1.3.6"]
    assert all("=" in k.condition for k in Kind)
    assert Kind.DATA_DEPENDENT.implies == Kind.DISTRIBUTION.implies == ()


# ---------------------------------------------------------------- how sharp it is


@pytest.mark.parametrize("name", ["Linear", "Attention", "Radial rescaling"])
@pytest.mark.parametrize("size", [1e-6, 1e-9])
def test_a_violation_of_a_billionth_is_seen(name, size):
    transformation, problem = taken(name)

    def nearly(theta):
        moved = transformation(theta)
        return {
            n: t + size * torch.cos(torch.arange(t.numel()).double()).view_as(t) for n, t in moved.items()
        }

    assert not is_symmetry(nearly, problem, "neural network").holds
    assert is_symmetry(nearly, problem, "neural network", tolerance=1e3 * size).holds


def test_badly_scaled_elements_raise_the_tolerance_with_the_rounding():
    """Elements of condition 1e8 round to 1e-8: the measured tolerance follows, and still tells a wrong inverse."""
    entry = CATALOGUE["Linear"]
    example = entry.example()
    frame = torch.linalg.qr(torch.randn(4, 4, generator=seeded(), dtype=torch.float64)).Q
    other = torch.linalg.qr(torch.randn(4, 4, generator=seeded(1), dtype=torch.float64)).Q
    bad = frame @ torch.diag(torch.logspace(-4, 4, 4).double()) @ other
    good = example.sample(seeded())
    verdicts = [
        is_symmetry(entry.transformation(g, example), example.problem, "neural network") for g in (good, bad)
    ]
    assert all(v.holds and v.decisive for v in verdicts)
    assert verdicts[1].tolerance > 1e3 * verdicts[0].tolerance
    wrong = entry.transformation(bad, example)
    half = lambda theta: {"2.weight": wrong(theta)["2.weight"]}  # noqa: E731
    assert not is_symmetry(half, example.problem, "neural network").holds


def test_what_rounding_hides_is_not_decided():
    entry = CATALOGUE["Linear"]
    example = entry.example()
    frame = torch.linalg.qr(torch.randn(4, 4, generator=seeded(), dtype=torch.float64)).Q
    other = torch.linalg.qr(torch.randn(4, 4, generator=seeded(1), dtype=torch.float64)).Q
    bad = frame @ torch.diag(torch.logspace(-7, 7, 4).double()) @ other
    with pytest.raises(ValueError, match="too sensitive to rounding"):
        is_symmetry(entry.transformation(bad, example), example.problem, "neural network")


@pytest.mark.parametrize("kind", ["neural network", "distribution"])
def test_a_transformation_in_place_is_compared_with_what_was_there_before(kind):
    _, problem = taken("Linear")

    def doubled(theta):
        return {n: t.mul_(2.0) for n, t in theta.items()}

    verdict = is_symmetry(doubled, problem, kind, **FEW)
    assert not verdict.holds and verdict.control > verdict.tolerance


@pytest.mark.parametrize("kind", ["neural network", "distribution"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_outputs_that_are_not_finite_are_no_symmetry(kind, value):
    """The difference of two infinities is no number, and no number is larger than a tolerance."""
    _, problem = taken("Linear")
    broken = Problem(
        lambda theta, x: value * problem.network(theta, x), problem.draw_parameters, problem.draw_data
    )
    with pytest.raises(ValueError, match="outputs must be finite"):
        is_symmetry(lambda theta: {"0.weight": 2.0 * theta["0.weight"]}, broken, kind, **FEW)


def test_the_identity_decides_nothing():
    _, problem = taken("Linear")
    for kind in ("neural network", "distribution"):
        verdict = is_symmetry(lambda theta: {}, problem, kind, **FEW)
        assert verdict.holds and not verdict.decisive and "random move would pass" in str(verdict)


def shift(size):
    """The mean of W x - y moves by size in its first component, for a mean of x that has |x|^2 = 5.5."""
    mean = torch.tensor([1.0, -0.5, 2.0, 0.5]).double()

    def transformation(theta):
        moved = theta["W"].clone()
        moved[0] += size * mean / (mean @ mean)
        return {"W": moved}

    return transformation


def test_an_expectation_that_moves_by_more_than_the_interval_is_seen():
    """Differences are size * (mean . x) / |mean|^2: mean size, deviation size / |mean|, so that any size is seen."""
    _, problem = taken("Residual of a linear model")
    for size in (1.0, 1e-3):
        assert not is_symmetry(shift(size), problem, "distribution", samples=1000).holds


def test_as_many_verdicts_hold_as_the_confidence_says():
    """300 trials of a true distribution symmetry; at least 80 % must hold, minus four standard deviations."""
    transformation, problem = taken("Residual of a linear model")
    held = sum(
        is_symmetry(
            transformation,
            problem,
            "distribution",
            draws=1,
            samples=200,
            confidence=0.8,
            generator=seeded(seed),
        ).holds
        for seed in range(300)
    )
    assert 0.8 - 4 * (0.8 * 0.2 / 300) ** 0.5 <= held / 300 < 1.0


def test_the_same_generator_gives_the_same_verdict():
    transformation, problem = taken("Residual of a linear model")
    state = torch.get_rng_state()
    one, two, other = (
        is_symmetry(transformation, problem, "distribution", generator=seeded(s), **FEW) for s in (0, 0, 1)
    )
    assert one == two and one != other
    assert torch.equal(torch.get_rng_state(), state)


def test_batchnorm_holds_up_to_its_eps_only():
    from torch import nn

    from isoloss.catalogue._problem import gaussian

    model = nn.Sequential(
        nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    ).double()
    problem = Problem.of(model, gaussian(5))
    double = lambda theta: {"0.weight": 2 * theta["0.weight"]}  # noqa: E731
    assert not is_symmetry(double, problem, "neural network").holds
    assert is_symmetry(double, problem, "neural network", tolerance=1e-3).holds
    # in eval mode statistics stay behind
    still = nn.Sequential(nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3, eps=0.0)).double().eval()
    assert not is_symmetry(double, Problem.of(still, gaussian(5)), "neural network", tolerance=1e-3).holds


# ---------------------------------------------------------------- refusals


def test_refusals_say_what_to_do():
    transformation, problem = taken("Linear")
    cases = [
        ({"kind": "weak"}, "kind must be one of 'neural network'"),
        ({"kind": "loss"}, "needs a loss"),
        ({"kind": "loss", "of": "network"}, "of must be"),
        ({"kind": "distribution", "of": "x"}, "of must be"),
        ({"kind": "neural network", "draws": 0}, "draws must be"),
        ({"kind": "neural network", "batch": 0}, "batch must be"),
        ({"kind": "distribution", "samples": 10}, "samples must be"),
        ({"kind": "distribution", "confidence": 1.0}, "confidence must"),
        ({"kind": "neural network", "tolerance": float("nan")}, "tolerance must be .* got nan"),
        ({"kind": "neural network", "tolerance": -1.0}, "tolerance must be .* got -1.0"),
        ({"kind": "distribution", "tolerance": 1e-3}, "not for a distribution; got 0.001"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            is_symmetry(transformation, problem, **options)
    for moved in ({"w": torch.ones(2)}, {"0.weight": torch.ones(2)}):
        with pytest.raises(ValueError, match="must return parameters of the problem"):
            is_symmetry(lambda theta, moved=moved: moved, problem, "neural network")
    for moved in (None, torch.ones(2), {"0.weight": [1.0]}):
        with pytest.raises(TypeError, match="must return a dict of tensors by name"):
            is_symmetry(lambda theta, moved=moved: moved, problem, "neural network")
    whole = Problem(problem.network, problem.draw_parameters, problem.draw_data, lambda y, x: y.sum())
    with pytest.raises(ValueError, match="a value per sample"):
        is_symmetry(transformation, whole, "distribution", of="loss")
