"""The verdict follows from the findings that are about the paper's claims."""

import pytest

from isoloss.reproduce import Finding, overall


def findings(*outcomes, kind="paper"):
    return [Finding("it is so", holds, "numbers", kind) for holds in outcomes]


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ((True, True), "reproduced"),
        ((True, False), "reproduced in part"),
        ((True, None), "reproduced in part"),
        ((False, None), "not reproduced"),
        ((False, False), "not reproduced"),
        ((None, None), "open"),
        ((), "open"),
    ],
)
def test_verdict(outcomes, verdict):
    assert overall(findings(*outcomes)) == verdict


def test_controls_do_not_change_the_verdict():
    assert overall(findings(True) + findings(False, None, kind="control")) == "reproduced"
    assert overall(findings(False) + findings(True, kind="control")) == "not reproduced"


def test_finding_reads_as_a_sentence():
    told = [str(f) for f in findings(True, False, None)]
    assert told == [f"it is so: {word} (numbers)" for word in ("holds", "does not hold", "open")]
