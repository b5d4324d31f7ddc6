"""Which steps are learned, chosen on and measured: none are two of these, and none is shuffled over a border."""

import numpy as np
import pytest

from gatewise import UserError
from gatewise.data.recordings.parts import Parts, cut_in_time, cut_whole, matching
from gatewise.data.recordings.sequences import Recording, Sequences, in_natural_order


def recording(name: str, first: int, count: int, label: str = "a") -> Recording:
    return Recording(name, np.arange(first, first + count, dtype=float)[:, None], np.full(count, label))


def test_cut_in_time_the_parts_are_the_ends_and_have_no_step_in_common():
    some = [recording("a", 0, 50), recording("b", 100, 31)]
    rest, test = cut_in_time(some, 0.2, 5, "test")
    train, validation = cut_in_time(rest, 0.25, 5, "validation")
    for place, whole in enumerate(some):
        steps = [part[place].values[:, 0] for part in (train, validation, test)]
        np.testing.assert_array_equal(np.concatenate(steps), whole.values[:, 0])
        assert len(steps[2]) == round(0.2 * len(whole))
        assert {part[place].name for part in (train, validation, test)} == {whole.name}
    assert cut_in_time(some, 0.0, 5, "validation") == (tuple(some), ())


def test_a_stretch_shorter_than_a_window_is_named():
    with pytest.raises(
        UserError, match=r"^b: 6 of its 31 rows are in the test part, and a window has 7; give a smaller"
    ):
        cut_in_time([recording("a", 0, 50), recording("b", 0, 31)], 0.2, 7, "test")
    with pytest.raises(UserError, match=r"^a: 4 of its 10 rows are in the training part, and a window has 5"):
        cut_in_time([recording("a", 0, 10)], 0.6, 5, "test")


def test_of_whole_recordings_the_last_of_every_class_are_taken():
    labels = ["a"] * 10 + ["b"] * 4 + ["c"]
    some = [recording(str(n), 0, 2, label) for n, label in enumerate(labels)]
    first, later = cut_whole(some, 0.2)
    assert [one.name for one in later] == ["8", "9", "13"]
    assert [one.name for one in first] == [one.name for one in some if one.name not in ("8", "9", "13")]


def test_a_pattern_says_which_recordings_are_measured():
    some = Sequences("folder", tuple(recording(name, 0, 3) for name in ("d0.dat", "d0_te.dat", "d1.dat")))
    train, test = matching(some, "*_te.dat")
    assert ([one.name for one in train], [one.name for one in test]) == (["d0.dat", "d1.dat"], ["d0_te.dat"])
    with pytest.raises(UserError, match=r"--test x\*: no recording of folder is called so \(d0.dat, "):
        matching(some, "x*")
    with pytest.raises(UserError, match=r"--test d\*: every recording of folder is called so"):
        matching(some, "d*")


def test_classes_are_those_of_the_training_part():
    train = (recording("t1", 0, 3, "10"), recording("t2", 0, 3, "9"))
    assert Parts(train, (), (recording("e", 0, 2, "9"),)).classes() == ["9", "10"]
    with pytest.raises(UserError, match=r"the label '11' is in the test part \(e\) and not in the training part"):
        Parts(train, (), (recording("e", 0, 2, "11"),)).classes()
    with pytest.raises(UserError, match=r"the label 'b' is in the validation part \(v\) and not in the training part"):
        Parts(train, (recording("v", 0, 2, "b"),), ()).classes()
    with pytest.raises(UserError, match="one class only to learn, '10'; a classifier wants at least two"):
        Parts(train[:1], (), ()).classes()


def test_an_onset_makes_the_first_rows_normal():
    one = recording("d", 0, 5, "07").with_onset("00", 3)
    assert one.labels.tolist() == ["00", "00", "00", "07", "07"]
    assert one.changes() == [3]
    with pytest.raises(UserError, match="--onset 6: d has 5 rows only"):
        recording("d", 0, 5).with_onset("00", 6)
    assert recording("d", 0, 2, "7").with_onset("normal", 1).labels.tolist() == ["normal", "7"]  # a longer text


def test_recordings_must_be_of_the_same_channels_and_hold_values():
    two = Recording("two", np.zeros((3, 2)), np.full(3, "a"))
    with pytest.raises(UserError, match="two: has 2 channels, and one has 1; all recordings want the same"):
        Sequences("made up", (recording("one", 0, 3), two))
    with pytest.raises(UserError, match="none: has no steps"):
        Sequences("made up", (recording("none", 0, 0),))
    with pytest.raises(UserError, match="made up: holds no recordings"):
        Sequences("made up", ())
    two.values[1, 1] = np.nan
    Sequences("made up", (two,)).check_values(infinite_only=True)
    with pytest.raises(UserError, match="two: the value of channel 2 at step 2 is missing; give --missing"):
        Sequences("made up", (two,)).check_values(infinite_only=False)
    two.values[1, 1] = -np.inf
    with pytest.raises(UserError, match="two: the value of channel y at step 2 is infinite; mend the data"):
        Sequences("made up", (two,), ("x", "y")).check_values(infinite_only=True)


def test_labels_stand_as_a_person_counts():
    assert in_natural_order({"12", "1", "02", "b", "a10", "a9", ""}) == ["", "1", "02", "12", "a9", "a10", "b"]
