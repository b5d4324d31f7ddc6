"""Small autoencoders of each kind: their settings, and runs of them."""

from gatewise.training import AutoencodeSettings, source_of
from gatewise.training.autoencode_run import AutoencodeTraining
from gatewise.training.lifecycle import train
from gatewise.training.settings import settings_from

CASES = {
    "vae": {"tokens": "char", "word_dropout": 0.4, "anneal": "cyclic", "cycles": 2},
    "vrnn": {"tokens": "char", "model": "vrnn", "cell": "lstm", "free_bits": 0.1},
    "series": {"window": 8, "dropout": 0.2},
    "words": {"cell": "lstm,gru", "hidden": "8,6", "encoder": "forward", "baseline": "none"},
}


def settings_of(case):
    plain = {"hidden": 8, "latent": 3, "embedding": 4, "batch": 16, "epochs": 3, "threads": 1, "engine": "eager"}
    return settings_from(AutoencodeSettings, plain | {"lr": 0.02, "evaluations": 4, "samples": 3} | CASES[case])


def trained(files, case, out, watch=None):
    source = source_of(files / ("waves.npy" if case == "series" else "lines.txt"))
    return train(AutoencodeTraining(), source, settings_of(case), out, watch)


class Killed(BaseException):
    pass
