"""Figure 6.2: (a) and (b) are accepted, (c) is refused, and rightly so."""

import pytest

from isoloss.discovery.extension import verdicts


@pytest.mark.parametrize("seed", [0, 1])
def test_figure_6_2(seed):
    found = verdicts(seed)
    assert [v.panel for v in found] == ["a", "b", "b", "c", "c", "c"]
    for v in found:
        assert v.symmetries == 2
        assert v.accepted == (v.panel != "c")
        assert v.accepted == (v.refused == 0) == (v.reason == "")
        # Of the outputs' size: rounding, or a change that nobody overlooks.
        assert v.change < 1e-10 if v.accepted else v.change > 1e-3


def test_the_reasons_name_the_parameters():
    reasons = [v.reason for v in verdicts() if v.panel == "c"]
    assert ["f.0.weight, f.0.bias," in r for r in reasons] == [True, False, False]
    assert ["f.2.weight" in r for r in reasons] == [False, False, True]


def test_a_verdict_is_a_sentence():
    a, *_, c = map(str, verdicts())
    assert a.startswith("(a) some units of a wider layer: accepted; moved anyway, the outputs change by ")
    assert c.startswith("(c) the size of its last weight: refused (2 of 2); moved anyway, ")
