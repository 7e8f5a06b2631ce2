"""Paired comparisons over seeds: sure when the seeds agree, open when they do not."""

import math

import pytest

from isoloss.reproduce import compare


def test_ratio_is_the_geometric_mean_of_the_pairs():
    c = compare([1.0, 2.0], [2.0, 16.0])
    assert c.ratio == pytest.approx(0.25) and (c.wins, c.of) == (2, 2)


def test_interval_is_students_on_the_logarithms():
    logs = [-0.5, -0.3, -0.4]
    c = compare([math.exp(x) for x in logs], [1.0, 1.0, 1.0])
    # t(0.95, 2 degrees) = 2.91999 from tables; the standard error of these logarithms is 0.1 / sqrt(3).
    reach = 2.91999 * 0.1 / math.sqrt(3)
    assert c.low == pytest.approx(math.exp(-0.4 - reach), rel=1e-5)
    assert c.high == pytest.approx(math.exp(-0.4 + reach), rel=1e-5)
    assert c.lower is True and c.higher is False


def test_seeds_that_disagree_leave_it_open():
    c = compare([1.0, 3.0, 1.0], [2.0, 1.0, 1.1])
    assert c.lower is None and c.higher is None and c.wins == 2


def test_one_seed_decides_nothing():
    assert compare([0.1], [1.0]).lower is None
    assert compare([None], [1.0]).lower is None
    assert compare([0.1], [None]).lower is None


def test_divergence_is_infinitely_bad():
    assert compare([None, 1.0], [1.0, 1.0]).lower is False
    assert compare([1.0, 1.0], [None, 1.0]).lower is True
    assert compare([None, 1.0], [None, 1.0]).lower is False
    assert str(compare([1.0, 1.0], [None, 1.0])) == "the other diverged; lower in 1 of 2 seeds"
    assert "diverged in 1 of 2 seeds; lower in 0 of 2" in str(compare([None, 1.0], [1.0, 1.0]))


def test_losses_of_zero_are_compared():
    assert compare([0.0, 0.0], [1.0, 1.0]).lower is True
    assert compare([1.0, 1.0], [0.0, 0.0]).lower is False


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1.0], [1.0, 2.0])])
def test_unpaired_values_are_refused(ours, theirs):
    with pytest.raises(ValueError, match="compare: needs pairs; got"):
        compare(ours, theirs)
