"""What a run that keeps its last weights says of better ones that it had."""

import pytest

from gatewise.training.fit import Journal
from gatewise.training.lifecycle import _tell_of_better
from gatewise.training.progress import Silent


class Said(Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.mark.parametrize(("losses", "step"), [((0.9, 0.5, 0.8), 20), ((0.9, 0.76, 0.8), None), ((), None)])
def test_names_the_step_where_it_was_clearly_better(losses, step):
    journal, report = Journal.for_epochs_of(10), Said()
    journal.rows = [{"step": 10 * (1 + place), "heldout_loss": loss} for place, loss in enumerate(losses)]
    journal.best_loss = min(losses, default=float("inf"))
    _tell_of_better(journal, report)
    if step is None:
        assert not report.lines
    else:
        assert report.lines == [
            f"the last weights are kept, with a held-out loss of 0.8; at step {step} it was 0.5: --keep best keeps "
            "those, a smaller --minutes or --epochs ends there"
        ]
