"""Verdicts follow from the numbers, and from nothing else."""

import pytest

from isoloss.learn.trial import judge
from learn.trial.results import results, run


def held(losses, **others):
    return [v.holds for v in judge(results({"learned": run(losses), **others}))]


@pytest.mark.parametrize(
    ("losses", "holds"),
    [
        ([[8.0, 2.0, 1.0]] * 6, True),
        ([[8.0, 2.0, 3.0]] * 6, False),  # rises where nobody trained it
        ([[8.0, 2.0, 9.0]] * 6, False),
        ([[8.0, 2.0, 1.0]] * 3 + [[8.0, 2.0, 3.0]] * 3, None),
        ([[8.0, 2.0, 1.0]] * 3, None),  # three tasks can be luck
        ([[8.0, 2.0, 1.0]] * 20 + [[8.0, 2.0, None]], False),  # one that diverges is too many
        ([[8.0, 1e-14, 2e-14]] * 6, True),  # nothing left to fall
        ([[8.0, 1e-14, None]] * 6, False),
        ([[8.0, 1e-10, 5e-10]] * 6, False),
    ],
)
def test_convergence_beyond_the_horizon(losses, holds):
    assert held(losses) == [holds]


@pytest.mark.parametrize(
    ("losses", "holds"),
    [
        ([8.0, 1e-6, 1e-11, 4e-8], False),  # lower than at the trained horizon, and yet on its way up
        ([8.0, 1e-6, 1e-11, 9e-11], True),
        ([8.0, 1e-6, 1e-14, 7e-12], True),  # what is below a part 1e-12 of the first is rounding
        ([8.0, 1e-6, 1e-25, 7e-11], True),  # so it is not what one has to stay near to
        ([8.0, 1e-6, 1e-25, 9e-11], False),
    ],
)
def test_a_loss_that_climbs_again_does_not_converge(losses, holds):
    (verdict,) = judge(results({"learned": run([losses] * 6, steps=(0, 10, 50, 100))}))
    assert verdict.holds is holds
    assert ("6 ended more than 10 times above their lowest" in verdict.evidence) is not holds


def test_what_diverged_did_not_climb():
    (verdict,) = judge(results({"learned": run([[8.0, 2.0, None]] * 6)}))
    assert verdict.evidence.endswith("6 diverged")


@pytest.mark.parametrize(
    ("ours", "theirs", "holds"),
    [
        ([1.0] * 6, [2.0] * 6, True),
        ([2.0] * 6, [1.0] * 6, False),
        ([1.0] * 6, [1.0] * 6, None),
        ([1.0] * 6, [None] * 6, True),
        ([None] * 6, [None] * 6, None),
        # Five heads of five: 1 / 32. Five of six: 7 / 64, which is above 1 / 20.
        ([1.0] * 6, [2.0] * 5 + [1.0], True),
        ([1.0] * 6, [2.0] * 5 + [0.5], None),
    ],
)
def test_a_sign_test_decides_who_ends_lower(ours, theirs, holds):
    mine, other = ([[8.0, 4.0, v] for v in values] for values in (ours, theirs))
    assert held(mine, gd=run(other, rate=0.1))[1] is holds


def test_what_is_said():
    verdicts = judge(results({"learned": run([[8.0, 2.0, 1.0]] * 6), "identity": run([[8.0, 4.0, 3.0]] * 6)}))
    assert [str(v) for v in verdicts] == [
        "update,tele converges on unseen tasks over 10 times the trained horizon: holds (median loss 8 at first, "
        "2 at step 10, 1 at step 100; falling on 6 of 6 tasks; 0 diverged)",
        "ends lower than update,tele with g = 1: holds (median 1 against 3; lower on 6 of 6 tasks)",
    ]
