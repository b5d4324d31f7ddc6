"""Commands of the classification task: train; and what predict does with its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gatewise.cli.options import GROUPS
from gatewise.cli.predict import PREDICTORS, Wanted
from gatewise.cli.training import ENDINGS, Asked, Ending, train_command
from gatewise.cli.verdict import verdict
from gatewise.errors import UserError
from gatewise.show.series.classes import draw_classify_run
from gatewise.training import Run
from gatewise.training.classify_settings import ClassifySettings
from gatewise.training.recordings_source import RecordingsSource
from gatewise.training.settings import settings_from
from gatewise.training.table_file import check_table_file, write_table
from gatewise.training.trained_classifier import load_classifier

_NAMES = {
    "majority": "majority class", "logistic_regression": "logistic regression", "random_forest": "random forest",
    "logistic_regression_pca": "logistic regression, PCA", "random_forest_pca": "random forest, PCA",
}  # fmt: skip


@train_command("classify", ClassifySettings)
def train_classify(
    data: Annotated[
        Path,
        Parameter(
            group=GROUPS["Data"],
            help="A `.ts` file; a table with a label a row (`--label COLUMN`, `--series COLUMN`); or a folder of "
            "recordings, .csv or .dat, with the label in the files' names (`--label-from`).",
        ),
    ],
    /,
    *,
    test: Annotated[
        str,
        Parameter(
            group=GROUPS["Data"],
            help="What is measured: another file or folder, a pattern of recordings' names (`*_te.dat`), or a share: "
            "the ends of all recordings, or, of whole ones, the last of each class (default: 0.2).",
        ),
    ] = "0.2",
    chosen: dict[str, Any],
) -> Asked:
    """Train a classifier of sequences, or of windows over streams; with `--normal`, a diagnosis of faults.

    Logistic regression and a random forest on the same examples are printed beside it. Ctrl-C saves;
    `gatewise resume RUN` goes on.
    """
    return RecordingsSource(data, test), settings_from(ClassifySettings, chosen)


_OFTEN = 0.1
"""Share of normal operation with an alarm above which delays say little."""


def _predict(run: Run, wanted: Wanted, say: Callable[[str], None]) -> str:
    """The class of every recording or window."""
    wanted.refuse_others("sheet")
    if wanted.data is None:
        raise UserError(f"predict {run.folder}: name the recordings to classify, as `train classify` takes them")
    check_table_file(wanted.out)
    trained = load_classifier(run.folder)
    found = trained.predict(trained.read(wanted.data, wanted.sheet, say).recordings)
    write_table(found, wanted.out)
    return f"{len(found):,} {'windows' if trained.window else 'recordings'} classified: {wanted.out}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _steps(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _tell(run: Run, summary: dict[str, Any]) -> None:
    test, without = summary["test"], summary["test"].get("without")
    what = f"windows of {summary['window']} rows" if summary["window"] else "recordings"
    print(f"test part, {summary['examples']['test']:,} {what}")
    _tell_classes(test, summary["window"] > 0)
    print(f"\n{'':26}accuracy  macro-F1" + ("  without " + ", ".join(without["classes"]) if without else ""))
    rows = {"this network": test, **{_NAMES[name]: one for name, one in summary["baselines"].items()}}
    if "validation" in summary:
        rows = {"this network, validation": summary["validation"], **rows}
    for name, one in rows.items():
        fewer = f"  {_share(one['without']['accuracy'])}, {_share(one['without']['macro_f1'])}" if without else ""
        alarms = f"  false alarms {_share(one['false_alarm_rate'])}" if "false_alarm_rate" in one else ""
        print(f"{name:26}{_share(one['accuracy']):>8}  {_share(one['macro_f1']):>8}{fewer}{alarms}")
    kinds = {"summary": "mean, deviation, extremes, ends and slope of each input", "flat": "all values of all steps"}
    if len(summary["baselines"]) > 1:
        print(f"baselines learned from {kinds[summary['baseline_features']]}, of the same examples")
    for name, one in summary["baselines"].items():
        gain = test["macro_f1"] - one["macro_f1"]
        print(verdict(_NAMES[name], gain > 0, f"{abs(gain):.3f} of macro-F1" if gain > 0 else _lacking(gain)))
    if "faults" in test:
        _tell_diagnosis(test, summary["window"] > 0)
    print(f"pictures   {run.folder / 'confusion.png'}, {run.curve_file}")


def _lacking(gain: float) -> str:
    return f"its macro-F1 is {-gain:.3f} higher" if gain else "the same macro-F1"


def _tell_classes(test: Mapping[str, Any], windows: bool) -> None:
    width = max(5, *map(len, test["per_class"]))
    faults, normal = test.get("faults", {}) if windows else {}, test.get("normal")
    head = f"{'class':{width}}  precision  recall     F1   count"
    print(head + ("  noticed  delay  named  delay" if faults else ""))
    for name, one in test["per_class"].items():
        row = f"{name:{width}}  {one['precision']:9.3f}  {one['recall']:6.3f}  {one['f1']:5.3f}  {one['count']:6,}"
        if name in faults:
            fault = faults[name]
            row += f"  {fault['detected']:7.0%}  {_steps(fault['delay']):>5}  {fault['diagnosed']:5.0%}"
            row += f"  {_steps(fault['diagnosis_delay']):>5}"
        print(row + ("  normal operation" if name == normal else ""))


def _tell_diagnosis(test: Mapping[str, Any], windows: bool) -> None:
    if not windows:
        print(
            f"false alarms: {_share(test['false_alarm_rate'])} of the recordings of normal operation are taken for a "
            f"fault; {_share(test['missed_rate'])} of those of faults are taken for normal"
        )
        return
    row, faults = test["in_a_row"], test["faults"].values()
    noticed = sum(fault["detected"] * fault["events"] for fault in faults)
    delays = [fault["delay"] for fault in faults if fault["delay"] is not None]
    print(
        f"false alarms: {_share(test['false_alarm_rate'])} of the windows of normal operation are taken for a fault, "
        f"at {_share(test['false_alarm_rate_in_a_row'])} of them {row} in a row were; "
        f"{_share(test['missed_rate'])} of the windows of faults are taken for normal"
    )
    mean = f", {sum(delays) / len(delays):.0f} steps after the onset in the mean of the classes" if delays else ""
    if "alarm_limit" in test:
        limit, plain = test["alarm_limit"], test["most_probable"]
        print(
            f"taken for a fault: where 1 - p({test['normal']}) is above {limit['limit']:.3f}, set for "
            f"{100 * limit['share']:g} % of normal operation by {limit['examples']:,} of its windows held out; where "
            f"the most probable class decides, macro-F1 is {plain['macro_f1']:.3f} and of the windows of normal "
            f"operation {_share(plain['false_alarm_rate'])} are taken for a fault"
        )
    print(
        f"an alarm is {row} windows in a row: {noticed:.0f} of {sum(fault['events'] for fault in faults)} faults "
        f"noticed{mean}; a fault is named where all {row} say the right one"
    )
    standing = test["false_alarm_rate_in_a_row"]
    if standing is not None and standing > _OFTEN:
        print(
            f"note: an alarm stands at {standing:.0%} of normal operation too, so that a fault is noticed, and how "
            "soon, says little; --false-alarms sets a limit"
        )


ENDINGS["classify"] = Ending(
    draw_classify_run, _tell, lambda _: ("predict {run} NEW --out classes.csv", "explain {cell}")
)
PREDICTORS["classify"] = _predict
