"""Figures that JSON can write, however deep they lie."""

import json
import math

import pytest

from gatewise.training.metrics import finite
from gatewise.training.run import Run


def test_what_json_cannot_write_becomes_none_at_any_depth():
    figures = {
        "a": 1.5,
        "b": [math.nan, 2, [math.inf]],
        "c": {"d": -math.inf, "e": ({"f": math.nan}, "nan")},
        "g": True,
    }
    found = finite(figures)
    assert found == {"a": 1.5, "b": [None, 2, [None]], "c": {"d": None, "e": [{"f": None}, "nan"]}, "g": True}
    json.dumps(found, allow_nan=False)


def test_a_summary_that_others_could_not_read_is_not_written(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        run.write_summary({"loss": {"by_step": [math.nan]}})
    assert not run.summary_file.exists()
