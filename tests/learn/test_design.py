"""What a design refuses, and what is published."""

from math import inf, nan

import pytest

from isoloss.learn import PARTS, Design

WRONG = {
    "unknown part": (
        {"variant": ("update", "tel")},
        r"variant must be of lr, momentum, tele, update, each once",
    ),
    "a string": ({"variant": "update"}, r"variant must be of .*; got 'update'; write variant=\('lr',\), say"),
    "nothing": ({"variant": ()}, r"variant must be of"),
    "twice": (
        {"variant": ("update", "update")},
        r"variant must be of .*, each once; got \('update', 'update'\)",
    ),
    "nothing descends": (
        {"variant": ("tele", "momentum")},
        r"something must lower the loss; got .*; add update",
    ),
    "unknown network": ({"network": "lstm"}, r"network must be of coordinate, whole"),
    "unknown units": ({"units": "log"}, r"units must be of direct, rate"),
    "unknown order": ({"order": "during"}, r"order must be of after, before"),
    "unknown velocity": ({"velocity": "drop"}, r"velocity must be of keep, push"),
    "unknown direction": (
        {"directions": ("up",)},
        r"directions must be of balance, crest, gradient-norm, .*; got",
    ),
    "no direction": ({"directions": ()}, r"directions must be of"),
    "raw features of weights": ({"raw": True}, r"raw is for the network 'whole'; got 'coordinate', which"),
    "no rate": ({"rate": 0.0}, r"rate must be positive; got 0.0; inf bounds nothing"),
    "no trust": ({"trust": nan}, r"trust must be positive; got nan"),
    "no radius": ({"radius": -1.0}, r"radius must be positive; got -1.0"),
    "no growth": ({"growth": 0}, r"growth must be positive"),
    "no tolerance": ({"tolerance": 0}, r"tolerance must be positive"),
    "half a unit": ({"hidden": 0.5}, r"hidden must be a whole number of at least 1; got 0.5"),
    "no layers": ({"layers": 0}, r"layers must be a whole number of at least 1; got 0"),
    "no number of layers": ({"layers": None}, r"layers must be a whole number of at least 1; got None"),
    "never": ({"every": 0}, r"every must be a whole number of at least 1; got 0"),
    "before the start": ({"teleport_at": (-1,)}, r"teleport_at must be whole numbers .*; got \(-1,\); write"),
    "halfway": ({"teleport_at": (0.5,)}, r"teleport_at must be whole numbers of at least 0; got \(0.5,\)"),
}


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG)
def test_wrong_designs_are_told(settings, message):
    with pytest.raises(ValueError, match="Design: " + message):
        Design(**settings)


def test_every_part_can_be_named():
    assert Design(variant=tuple(PARTS)).variant == tuple(PARTS)


def test_when_there_is_a_teleport():
    at = lambda **d: [s for s in range(10) if Design(**d).jumps(s)]  # noqa: E731
    assert at() == [0]
    assert at(teleport_at=(2, 5)) == [2, 5]
    assert at(teleport_at=(1,), every=4) == [0, 1, 4, 8]
    assert at(variant=("update",), every=1) == []


def test_sizes_of_cells():
    assert Design().units_per_cell == 20
    assert Design(network="whole").units_per_cell == 300
    assert Design(network="whole", hidden=7).units_per_cell == 7


def test_what_is_published_bounds_nothing():
    d = Design.published("lr", "tele")
    assert (d.variant, d.network, d.units_per_cell, d.layers) == (("lr", "tele"), "whole", 300, 2)
    assert (d.raw, d.units, d.order, d.velocity, d.rate) == (True, "direct", "after", "keep", 5e-3)
    assert [d.trust, d.radius, d.growth, d.tolerance] == [inf] * 4
    assert all(d.jumps(step) for step in range(20))
