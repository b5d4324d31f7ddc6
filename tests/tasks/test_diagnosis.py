"""Alarms, delays and false alarms against a small case worked out by hand and a loop over steps."""

import numpy as np
import pytest

from gatewise.data.recordings.examples import Examples, SequencePreparation
from gatewise.data.recordings.sequences import Recording
from gatewise.tasks.diagnosis import diagnose, events

CLASSES = ["ok", "hot", "leak"]


def made(*labels: str) -> list[Recording]:
    """Recordings of one channel; a letter a step: o, h, l."""
    names = {"o": "ok", "h": "hot", "l": "leak"}
    return [
        Recording(str(n), np.zeros((len(text), 1)), np.array([names[letter] for letter in text]))
        for n, text in enumerate(labels)
    ]


def windows(recordings: list[Recording], window: int = 2, stride: int = 1) -> Examples:
    return Examples.over(recordings, SequencePreparation.fitted(recordings), CLASSES, window, stride)


def numbers(text: str) -> np.ndarray:
    return np.array(["ohl".index(letter) for letter in text.replace(" ", "")])


def test_a_case_worked_out_by_hand():
    recordings = made("ooohhhhhh", "oollllo", "ooo")
    examples = windows(recordings)  # they end at steps 1 ... 8, 1 ... 6, 1 ... 2
    predicted = numbers("oh hlohhh  oo oooo  hh")
    found = diagnose(examples, predicted, recordings, CLASSES, "ok", in_a_row=2)
    # Normal windows end at steps 1, 2 of the first, at 1, 6 of the second, at 1, 2 of the third: h at 3 of the 6.
    assert found["false_alarm_rate"] == pytest.approx(3 / 6)
    assert found["false_alarm_rate_in_a_row"] == pytest.approx(1 / 6)
    assert found["missed_rate"] == pytest.approx(5 / 10)
    # The first fault begins at step 3; its windows say h l o h h h. The one before the onset does not count.
    assert found["faults"]["hot"] == {
        "events": 1, "detected": 1.0, "delay": 1.0, "diagnosed": 1.0, "diagnosis_delay": 4.0
    }  # fmt: skip
    assert found["faults"]["leak"] == {
        "events": 1, "detected": 0.0, "delay": None, "diagnosed": 0.0, "diagnosis_delay": None
    }  # fmt: skip


def test_delays_are_means_over_the_faults_that_were_noticed():
    recordings = made("oohhhh", "ooohhh", "oohh")
    examples = windows(recordings, window=1)
    predicted = numbers("oo hhhh  ooo ohh  oo oo")
    fault = diagnose(examples, predicted, recordings, CLASSES, "ok", in_a_row=1)["faults"]["hot"]
    assert fault["events"] == 3
    assert (fault["detected"], fault["diagnosed"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (fault["delay"], fault["diagnosis_delay"]) == (0.5, 0.5)


def slowly(examples, predicted, recordings, in_a_row):
    """The first alarm of each fault, window after window."""
    delays = []
    for number, one in enumerate(recordings):
        onset = next((step for step, label in enumerate(one.labels) if label != "ok"), None)
        if onset is None:
            continue
        row, delay = 0, None
        for place in np.flatnonzero(examples.recordings == number):
            if examples.last[place] < onset:
                continue
            row = row + 1 if predicted[place] != 0 else 0
            if row == in_a_row and delay is None:
                delay = int(examples.last[place]) - onset
        delays.append(delay)
    return delays


@pytest.mark.parametrize("in_a_row", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 3])
def test_delays_agree_with_a_loop_over_windows(in_a_row, stride):
    draw = np.random.default_rng(in_a_row)
    recordings = made(*("o" * draw.integers(1, 9) + "h" * draw.integers(9, 30) for _ in range(12)))
    examples = windows(recordings, window=3, stride=stride)
    predicted = draw.integers(0, 2, len(examples))
    found = diagnose(examples, predicted, recordings, CLASSES, "ok", in_a_row)["faults"]["hot"]
    wanted = [delay for delay in slowly(examples, predicted, recordings, in_a_row) if delay is not None]
    assert found["events"] == 12
    assert found["detected"] == pytest.approx(len(wanted) / 12)
    assert found["delay"] == (pytest.approx(np.mean(wanted)) if wanted else None)


def test_faults_are_stretches_of_one_label():
    found = [tuple(event)[1:] for event in events(made("hholl", "ooo"), "ok")]
    assert found == [("hot", 0, 2), ("leak", 3, 5)]


def test_where_nothing_is_normal_there_is_no_false_alarm():
    recordings = made("hhhh")
    found = diagnose(windows(recordings), numbers("hhh"), recordings, CLASSES, "ok")
    assert found["false_alarm_rate"] is None
    assert found["missed_rate"] == 0.0


def test_what_had_begun_before_a_part_was_cut_off_is_no_event():
    (whole,) = made("oohhhhllho")
    parts = [whole.part(4, 10), whole.part(4, 10).part(2, 6), whole.part(2, 10), whole.part(0, 4)]
    assert [tuple(event) for event in events(parts, "ok")] == [
        (0, "leak", 2, 4), (0, "hot", 4, 5),
        (1, "leak", 0, 2), (1, "hot", 2, 3),
        (2, "hot", 0, 4), (2, "leak", 4, 6), (2, "hot", 6, 7),
        (3, "hot", 2, 4),
    ]  # fmt: skip


def test_an_alarm_does_not_stand_across_recordings():
    recordings = made("ooo", "ooo")
    found = diagnose(windows(recordings, window=1), numbers("ohhhoo"), recordings, CLASSES, "ok", in_a_row=3)
    assert found["false_alarm_rate"] == 0.5
    assert found["false_alarm_rate_in_a_row"] == 0.0
