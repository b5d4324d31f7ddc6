"""What is shown of long work that no person watches."""

import re

from gatewise.training.progress import Lines, Silent, reporter


def test_a_line_now_and_then_says_how_far_long_work_is(capsys):
    with Lines(seconds_between=0).counting("measuring", 40) as counted:
        for amount in (10, 20, 10):
            counted(amount)
    said = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d+:\d\d", "T", line) for line in said] == ["measuring: 25%, T left", "measuring: 75%, T left"]


def test_short_work_is_not_mentioned(capsys):
    with Lines().counting("measuring", 2) as counted:
        counted(1)
    assert capsys.readouterr().err == ""


def test_a_person_who_asks_for_quiet_sees_no_progress(capsys):
    with reporter(quiet=True) as report:
        assert isinstance(report, Silent)
        report.say("step 1")
        with report.counting("measuring", 2) as counted:
            counted(1)
    assert capsys.readouterr().err == ""
    with reporter() as report:  # no terminal
        report.say("step 1")
    assert capsys.readouterr().err == "step 1\n"
