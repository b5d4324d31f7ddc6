"""A closed form to search in."""

import math

from gatewise.training.tune.plan import Plan
from gatewise.training.tune.ranges import Range

RANGES = (Range("lr", 1e-4, 1e-1, log=True), Range("hidden", 8, 128, whole=True, log=True), Range("dropout", 0.0, 0.5))


def plan_of(search: str, **more) -> Plan:
    return Plan("text", search, RANGES, seed=3, particles=4 if search == "pso" else 0, **more)


def bowl(settings) -> float:
    """What is to be found smallest: 0 at lr 0.003, hidden 40, dropout 0.2."""
    lr, hidden, dropout = settings["lr"], settings["hidden"], settings["dropout"]
    return math.log10(lr / 3e-3) ** 2 + math.log2(hidden / 40) ** 2 / 4 + (dropout - 0.2) ** 2
