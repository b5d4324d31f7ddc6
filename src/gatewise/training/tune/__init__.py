"""Looking for good settings: particle swarm, Parzen estimators or random search, in one study for many processes."""

from gatewise.training.tune.keeper import PARTICLES, Audience, Found, Wish
from gatewise.training.tune.outset import Outset, set_out
from gatewise.training.tune.plan import SEARCHES, Plan
from gatewise.training.tune.ranges import Looked, Range, tunable
from gatewise.training.tune.results import TrialRow, best_of
from gatewise.training.tune.tune import SearchInterrupted, tune

__all__ = [
    "PARTICLES",
    "SEARCHES",
    "Audience",
    "Found",
    "Looked",
    "Outset",
    "Plan",
    "Range",
    "SearchInterrupted",
    "TrialRow",
    "Wish",
    "best_of",
    "set_out",
    "tunable",
    "tune",
]
