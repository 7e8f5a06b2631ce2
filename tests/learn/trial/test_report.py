"""The summary on one screen."""

from isoloss.learn.trial import report
from learn.trial.results import results, run


def test_table_of_medians():
    told = results(
        {
            "learned": run([[8.0, 2.0, 1.0], [8.0, 4.0, 0.5], [8.0, 3.0, 0.25]]),
            "gd": run([[8.0, 5.0, None], [8.0, 6.0, 7.0], [8.0, None, None]], rate=0.32),
        }
    )
    assert report(told).splitlines()[2:5] == [
        "contender    rate  step 0  step 1  step 10  step 100  diverged",
        "update,tele             8       8        3       0.5         0",
        "GD           0.32       8       8        6       inf         2",
    ]


def test_what_teleports_did():
    jumps = {"jumps": [0, 5], "gains": [[2.0, 4.0], [3.0, 1.0]], "changes": [[1e-9, -2e-8], [0.0, 0.0]]}
    told = report(results({"learned": run([[8.0, 2.0, 1.0]] * 2, **jumps, sizes=[[1.0, 1.0], [1.0, 0.0]])}))
    assert told.splitlines()[-1] == (
        "- learned teleports multiply the gradient norm by 3 (quartiles 2 to 4) and change the loss by at most "
        "2e-08 of it; 1 of 4 were refused"
    )
    told = report(results({"learned": run([[8.0, 2.0, 1.0]] * 2, **jumps, sizes=[[0.0, 0.0], [0.0, 0.0]])}))
    assert told.endswith("- all 4 teleports were refused")
    assert "teleports" not in report(results({"learned": run([[8.0, 2.0, 1.0]] * 2)}))


def test_an_untrained_optimizer_is_told():
    contenders = {"learned": run([[8.0, 2.0, 1.0]] * 2)}
    assert report(results(contenders, validation=1.5, untrained=True)).splitlines()[-1] == (
        "- training brought nothing: on the validation tasks no run came below the untrained optimizer "
        "(meta-loss 1.5), which is the one that was kept and tested"
    )
    assert "untrained" not in report(results(contenders, validation=1.5))
