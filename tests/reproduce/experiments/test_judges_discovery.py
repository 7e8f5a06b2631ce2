"""Verdicts of Chapter 6 on made-up numbers: what holds must hold, what does not must not."""

import pytest

from isoloss.reproduce import overall
from isoloss.reproduce.experiments import (
    _discovered_curves,
    _discovered_dependent,
    _discovered_known,
    _discovered_scalar,
    _discovered_transformer,
)


def holds(findings, text):
    (one,) = (f.holds for f in findings if text in f.statement)
    return one


def run(slope=0.01, other=None, **changes):
    """What `learn` tells of two generators, with slopes on their own and on other data."""
    told = {
        "seconds": 3.0,
        "action": "mlp",
        "found": slope <= 0.1,
        "reason": "" if slope <= 0.1 else "the loss is not invariant",
        "grade": {
            "invariance": [slope, slope],
            "foreign": [slope if other is None else other] * 2,
            "norms": [1.0, 1.0],
            "data_derivative": 0.3,
            "associativity": 0.0,
            "independent": 2,
        },
        "generators": [[[1.0, 0.0], [0.0, -1.0]]] * 2,
        "cosines": [0.0],
        "composition": 0.0,
        "history": [[100, slope]],
    }
    return told | changes


# --- Figure 6.3 ---


def scalar(cosine=1.0, directions=1.0, generator=((1.0, 0.0), (0.0, -1.0)), norm=1.0):
    def one(design):
        good = design in ("residual", "anchored", "ours", "published, linear")
        told = run(cosine=1.0 if good else cosine, directions=[1.0 if good else directions] * 9)
        told["grade"] |= {"norms": [1.0 if good else norm]}
        return told | {"same way": 1.0, "arrows": [], "generators": [generator]}

    return {"scalar": {d: [one(d)] for d in _discovered_scalar.DIRECTIONS}}


def test_the_generator_of_a_perceptron_is_judged_apart_from_its_direction():
    found = _discovered_scalar.judge(scalar())
    assert overall(found) == "reproduced" and all(f.holds for f in found)
    found = _discovered_scalar.judge(scalar(cosine=0.3, generator=((0.0, 1.0), (1.0, 0.0)), norm=0.05))
    assert overall(found) == "reproduced in part"
    assert holds(found, "learned generator h") is False and holds(found, "exp(h)") is False
    assert holds(found, "direction is that of rescaling (an MLP)") is True
    assert holds(found, "published: the directions keep") is False
    assert holds(_discovered_scalar.judge(scalar(directions=0.9)), "rescaling (an MLP)") is False


def test_generators_are_compared_at_one_length_and_sign():
    assert _discovered_scalar.normalized([[-2.0, 0.0], [0.0, 2.0]]) == [[1.0, 0.0], [0.0, -1.0]]


# --- Section 6.5.3 ---


def known(angle=1.0, seconds=3.0, null=4):
    designs = {d: [run(angles=[0.5, angle], seconds=seconds)] for d in _discovered_known.DESIGNS}
    exact = {"null": [null, null], "known": [4, 4], "generators": 4, "angle": 1e-9}
    return {"runs": {"linear": designs}, "exact": {"linear": exact}}


def test_angles_and_times_have_bars():
    assert all(f.holds for f in _discovered_known.judge(known()))
    found = _discovered_known.judge(known(angle=80.0, seconds=301.0, null=5))
    assert overall(found) == "not reproduced"
    assert holds(found, "ours (mlp)") is False and holds(found, "ours: learned within") is False
    assert holds(found, "nothing else") is False and holds(found, "closed form") is True


# --- Figures 6.4 and 6.5 ---


def dependent(published, ours, *, network="sigmoid", counts=None, **changes):
    of = {"published": published, "ours": ours, "linear": run(0.5), "untrained": run(1.0)}
    points = list(range(1, 7))
    count = {"points": points, "all": [max(4 - d, 0) for d in points], "outer": [3, 2, 1, 0, 0, 0]}
    count |= {"parameters": 4} | (counts or {})
    return {
        "runs": {
            network: {
                d: [r | {"layers": [[0.5, 0.5]], "unseen": [0.5, 0.5]} | changes] for d, r in of.items()
            }
        },
        "counts": {network: count},
    }


def test_symmetries_that_need_their_data():
    found = _discovered_dependent.judge(dependent(run(0.5, 0.5), run(0.02, 0.8)))
    assert overall(found) == "reproduced in part"
    assert holds(found, "the published objective finds") is False
    assert holds(found, "our objective does") is True
    assert holds(found, "ours: the directions of one batch") is True
    assert holds(found, "published: the directions of one batch") is False
    assert holds(found, "negative control") is False and holds(found, "any d gradients") is False


def test_dimensions_beyond_the_count_are_symmetries():
    more = {"all": [3, 2, 1, 1, 1, 1]}
    found = _discovered_dependent.judge(dependent(run(), run(), counts=more))
    assert holds(found, "any d gradients") is True


def test_generators_that_cancel_are_not_orthogonal():
    found = _discovered_dependent.judge(dependent(run(cosines=[-1.0], composition=0.5), run()))
    assert holds(found, "L_orth") is False and holds(found, "group action") is False
    found = _discovered_dependent.judge(dependent(run(), run(), unseen=[0.99, 0.95]))
    assert holds(found, "δW1 X = 0") is False
    assert holds(found, "L_orth") is True and holds(found, "group action") is True


@pytest.mark.parametrize(("layers", "expected"), [([0.5, 0.0, 0.5], True), ([0.4, 0.2, 0.4], False)])
def test_layers_that_do_not_touch(layers, expected):
    told = dependent(run(), run(), network="three-layer", layers=[layers])
    assert holds(_discovered_dependent.judge(told), "non-contiguous") is expected


# --- Figure 6.6 ---


def paths(published, ours, elements=1.0):
    def one(value):
        forms = {form: [[0.0, value], [0.0, value]] for form in ("map", "flow")}
        return run(curves=forms | {"t": [0, 1], "random": [0.0, 2.0], "random elements": [0.0, elements]})

    return {"runs": {"skip": {"published": [one(published)], "ours": [one(ours)]}}}


def test_curves_are_compared_with_random_ones():
    found = _discovered_curves.judge(paths(1.0, 0.1))
    assert holds(found, "less than along random") is True and holds(found, "ours") is True
    assert holds(found, "published (mlp)") is False
    assert "0.5 times as much; 1 times that of random elements" in found[0].evidence
    assert overall(_discovered_curves.judge(paths(3.0, 0.3))) == "not reproduced"


def test_a_curve_that_diverges_is_no_symmetry():
    told = paths(1.0, 0.1)
    told["runs"]["skip"]["ours"][0]["curves"]["map"][0][-1] = None
    told["runs"]["skip"]["ours"][0]["curves"]["flow"][0][-1] = None
    assert holds(_discovered_curves.judge(told), "ours") is False


# --- Figure 6.7 ---


def transformer(slope, known, null=16):
    runs = {d: [run(slope, known=[known, known], kept=[0.97, 0.97])] for d in _discovered_transformer.DESIGNS}
    count = {"batches": [1, 24], "null": [27, null], "known": 16, "parameters": 28, "fits": False}
    return {"runs": runs, "count": count}


def test_only_symmetries_can_be_new():
    found = _discovered_transformer.judge(transformer(0.5, 0.5))
    assert overall(found) == "not reproduced"
    assert "no symmetries to begin with" in found[2].evidence
    found = _discovered_transformer.judge(transformer(0.05, 0.5))
    assert overall(found) == "reproduced in part"  # the shapes remain
    assert holds(found, "published: the learned") is True
    found = _discovered_transformer.judge(transformer(0.05, 0.99, null=17))
    assert holds(found, "published: the learned") is False and holds(found, "not known") is True
