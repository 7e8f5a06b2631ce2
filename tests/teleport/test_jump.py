from isoloss.teleport import Jump


def test_a_report_gives_the_numbers_that_are_known():
    jump = Jump(step=3, objective="gradient norm", before=2.0, after=4.0, size=0.1)
    assert jump.as_dict() == {"step": 3.0, "before": 2.0, "after": 4.0, "size": 0.1}
    assert all(isinstance(value, float) for value in jump.as_dict().values())


def test_a_skipped_jump_says_why():
    assert Jump(step=0, objective="gradient norm", skipped="why").as_dict() == {"step": 0.0}
