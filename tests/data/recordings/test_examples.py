"""Windows and whole recordings: which rows they have, what they are scaled by, what they may not see."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from gatewise import UserError
from gatewise.data.recordings.channel_features import derive
from gatewise.data.recordings.examples import Examples, SequencePreparation
from gatewise.data.recordings.sequences import Recording

DRAW = np.random.default_rng(0)


def recording(name: str, steps: int, labels: str = "a", channels: int = 3) -> Recording:
    """Of one label, or with a label for each step."""
    values = DRAW.normal(size=(steps, channels)) * [1, 10, 100][:channels] + 5
    return Recording(name, values, np.array(list(labels) if len(labels) > 1 else [labels] * steps))


def plain(*some: Recording) -> SequencePreparation:
    return SequencePreparation.fitted(some, kind="standard")


def test_windows_are_all_stretches_of_a_recording_and_cross_no_border():
    some = [recording("x", 7, "aabbbba"), recording("y", 4, "bbbb")]
    preparation = plain(*some)
    examples = Examples.over(some, preparation, ["a", "b"], window=3, stride=2)
    assert examples.windows
    assert examples.recordings.tolist() == [0, 0, 0, 1]
    assert examples.last.tolist() == [2, 4, 6, 2]
    assert examples.classes.tolist() == [1, 1, 0, 1]  # of the last row
    x, lengths, classes = examples.batch([2, 3])
    scaled = [(one.values - preparation.scale.mean) / preparation.scale.deviation for one in some]
    np.testing.assert_allclose(x[:, 0].numpy(), scaled[0][4:7], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(x[:, 1].numpy(), scaled[1][0:3], rtol=1e-5, atol=1e-6)
    assert (lengths.tolist(), classes.tolist()) == ([3, 3], [0, 1])


def test_whole_recordings_of_unequal_lengths_are_padded_behind_their_ends():
    some = [recording("x", 5), recording("y", 2, "b"), recording("z", 4, "c")]
    preparation = plain(*some)
    examples = Examples.over(some, preparation, ["a", "b"], window=0)
    assert not examples.windows
    assert examples.classes.tolist() == [0, 1, -1]
    x, lengths, _ = examples.batch([1, 0])
    assert lengths.tolist() == [2, 5]
    for place, one in enumerate((some[1], some[0])):
        scaled = (one.values - preparation.scale.mean) / preparation.scale.deviation
        np.testing.assert_allclose(x[: len(one), place].numpy(), scaled, rtol=1e-5, atol=1e-6)


def test_a_recording_shorter_than_a_window_is_named():
    some = [recording("x", 5), recording("y", 2)]
    with pytest.raises(
        UserError, match=r"^y: has 2 rows, and a window has 3; give a smaller --window, or leave it out"
    ):
        Examples.over(some, plain(*some), ["a"], window=3)


def test_standard_and_robust_scales_are_of_the_training_rows():
    train, rest = [recording("x", 40), recording("y", 30)], recording("z", 20)
    rows = np.concatenate([one.values for one in train])
    standard, robust = (SequencePreparation.fitted(train, kind=kind) for kind in ("standard", "robust"))
    np.testing.assert_allclose(standard.scale.mean, rows.mean(0))
    np.testing.assert_allclose(standard.scale.deviation, rows.std(0))
    np.testing.assert_allclose(robust.scale.mean, np.median(rows, 0))
    ranges = [np.subtract(*np.percentile(one.values, [75, 25], axis=0)) for one in train]
    np.testing.assert_allclose(robust.scale.deviation, (ranges[0] + ranges[1]) / 2 / 1.349)
    rest.values[3] = [1e6, -1e6, 5]
    scaled = robust.scaled(rest.values)
    assert scaled[3, :2].tolist() == [10, -10]
    by_hand = ((rest.values - robust.scale.mean) / robust.scale.deviation).clip(-10, 10)
    np.testing.assert_allclose(scaled, by_hand, rtol=1e-5, atol=1e-5)


def test_features_are_scaled_by_those_of_the_training_recordings():
    train, rest = [recording("x", 40), recording("y", 30), recording("z", 35)], recording("z", 20)
    preparation = SequencePreparation.fitted(train, features=("spread", "values"))

    def features(one: Recording) -> np.ndarray:
        return derive(preparation.scaled(one.values)[:, None], ("spread", "values"))[:, 0].astype(np.float64)

    learned = [features(one) for one in train]
    middle = np.median(np.concatenate(learned), 0)
    deviation = np.median([np.subtract(*np.percentile(one, [75, 25], axis=0)) for one in learned], 0) / 1.349
    found = Examples.over([rest], preparation, ["a"], window=0).batch([0]).x[:, 0].numpy()
    wanted = ((features(rest) - middle) / deviation).clip(-5, 5)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    assert np.abs(wanted).max() == 5  # the spread of a single step


def test_a_channel_that_stands_still_is_not_divided_by_zero():
    one = recording("x", 20)
    one.values[:, 0] = 3.0
    one.values[:, 1] = 0.0
    one.values[:4, 1] = 8.0  # varies, but not between its quartiles
    for kind in ("standard", "robust"):
        preparation = SequencePreparation.fitted([one], kind=kind)
        assert np.isfinite(preparation.scaled(one.values)).all()
        assert preparation.scale.deviation[0] == 1.0
    np.testing.assert_allclose(preparation.scale.deviation[1], one.values[:, 1].std())


@pytest.mark.parametrize("features", [("values",), ("values", "spread")])
def test_components_are_scikit_learns_of_the_scaled_features_of_training_rows_alone(features):
    train, rest = [recording("x", 40), recording("y", 30)], recording("z", 20)
    plain = SequencePreparation.fitted(train, kind="standard", features=features)
    preparation = SequencePreparation.fitted(train, kind="standard", features=features, pca=2)

    def given(made: SequencePreparation, one: Recording) -> np.ndarray:
        return Examples.over([one], made, ["a"], window=0).batch([0]).x[:, 0].numpy()

    pca = PCA(2, svd_solver="full").fit(np.concatenate([given(plain, one) for one in train]).astype(np.float64))
    found, wanted = given(preparation, rest), pca.transform(given(plain, rest))
    # A component may be turned round; none is scaled: the deviations are those that it has among the features.
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), rtol=1e-3, atol=1e-4)
    assert wanted.shape[1] == preparation.input_size == 2


def test_as_many_components_as_features_leave_all_distances_as_they_are():
    """Of which a network learns what it would without them: what is added to its inputs is as large beside them."""
    train, rest = [recording("x", 40), recording("y", 30)], recording("z", 20)
    kinds = ("values", "unrest")
    plain, turned = (SequencePreparation.fitted(train, features=kinds, pca=pca) for pca in (None, 6))
    x, y = (Examples.over([rest], made, ["a"], window=7).batch([0, 9]).x.double() for made in (plain, turned))
    np.testing.assert_allclose(torch.cdist(y, y).numpy(), torch.cdist(x, x).numpy(), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(x, y, atol=0.1)


def test_components_are_of_rows_with_a_value_in_every_channel():
    gappy, whole = recording("x", 40), recording("y", 30)
    gappy.values[::2, 1] = np.nan
    made = SequencePreparation.fitted([gappy, whole], "mask", kind="standard", pca=3)
    rows = np.concatenate([gappy.values[1::2], whole.values])
    pca = PCA(3).fit((rows - made.scale.mean) / np.array(made.scale.deviation))
    assert made.projection is not None
    np.testing.assert_allclose(np.abs(made.projection.components), np.abs(np.asarray(pca.components_)), atol=1e-4)
    whole.values[:, 0] = np.nan
    gappy.values[1::2, 0] = np.nan
    with pytest.raises(UserError, match="--pca: no training row has a value in every channel"):
        SequencePreparation.fitted([gappy, whole], "mask", pca=1)


def test_missing_values_by_policy():
    train, one = recording("x", 40), recording("y", 4)
    one.values[:, 0] = [np.nan, 7.0, np.nan, 11.0]
    mean, deviation = train.values[:, 0].mean(), train.values[:, 0].std()
    scaled = [(value - mean) / deviation for value in (7.0, 9.0, 11.0)]

    def first_channel(policy: str, window: int) -> np.ndarray:
        preparation = SequencePreparation.fitted([train], policy, kind="standard")
        examples = Examples.over([one], preparation, ["a"], window=window)
        return examples.batch([0]).x[:, 0].numpy()

    line = first_channel("interpolate", 0)
    np.testing.assert_allclose(line[:, 0], [0.0, *scaled], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first_channel("interpolate", 3)[:, 0], [0, scaled[0], scaled[0]], rtol=1e-5, atol=1e-6)
    masked = first_channel("mask", 0)
    assert masked.shape == (4, 3 + 2 * 3)
    np.testing.assert_allclose(masked[:, 0], [0, scaled[0], scaled[0], scaled[2]], rtol=1e-5, atol=1e-6)
    assert masked[:, 3].tolist() == [0, 1, 0, 1]  # whether there is one
    np.testing.assert_allclose(masked[:, 4], np.log1p([1, 0, 1, 0]) / 4, rtol=1e-6)


def test_a_preparation_goes_through_a_file_and_malformed_ones_are_refused():
    some = [recording("x", 40), recording("y", 30)]
    made = SequencePreparation.fitted(some, "mask", "robust", ("values", "spread"), 2)
    config = made.to_config()
    assert SequencePreparation.from_config(config) == made
    assert made.input_size == 2 + 2 * 3
    for change in (
        {"missing": "drop"}, {"kind": "other"}, {"features": []}, {"features": ["values", "valuess"]}, {"scale": {}},
        {"scale": {"mean": [0.0], "deviation": [1.0]}}, {"feature_scale": {}},
        {"feature_scale": {"mean": [0.0], "deviation": [1.0]}}, {"projection": {"mean": [0.0]}},
        {"projection": {"mean": [0.0], "components": [[1.0]], "shares": [1.0]}}, {"component_scale": {}},
    ):  # fmt: skip
        with pytest.raises(UserError):
            SequencePreparation.from_config(config | change)
    with pytest.raises(UserError):
        SequencePreparation.from_config({name: value for name, value in config.items() if name != "missing"})


def test_what_cannot_be_scaled_is_refused():
    one, other = recording("x", 10), recording("y", 10)
    one.values[:, 2] = np.nan
    with pytest.raises(UserError, match="channel 3 has no value in the training part"):
        SequencePreparation.fitted([one], "interpolate")
    with pytest.raises(UserError, match="--missing drop"):
        SequencePreparation.fitted([other], "drop")
    with pytest.raises(UserError, match="--scale robst: did you mean 'robust'"):
        SequencePreparation.fitted([other], kind="robst")
    with pytest.raises(UserError, match="--pca 4: the inputs have 3 columns"):
        SequencePreparation.fitted([other], pca=4)
    preparation = plain(other)
    other.values[4, 1] = 1e300
    with pytest.raises(UserError, match="y: the value of channel 2 at step 5 is too far from the others"):
        preparation.encode([other])


def test_a_batch_holds_no_more_than_its_own_examples():
    """Windows are cut when they are asked for: a thousand of them take the memory of their recording."""
    one = recording("x", 3000)
    examples = Examples.over([one], plain(one), ["a"], window=1000)
    assert len(examples) == 2001
    assert examples.encoded.filled.values.shape == (3000, 3)
    assert torch.equal(examples.batch([2000]).x[:, 0], torch.from_numpy(examples.encoded.filled.values[2000:]))
