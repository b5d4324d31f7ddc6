"""Training: the one loop, the run folder, the only writer of weights."""

from gatewise.tasks import perplexity
from gatewise.training.lifecycle import Watch
from gatewise.training.metrics import finite
from gatewise.training.progress import Reporter, Silent, reporter
from gatewise.training.run import Run
from gatewise.training.signals import Interrupted
from gatewise.training.text_run import train_text
from gatewise.training.text_settings import RECIPES, TextSettings, text_settings
from gatewise.training.text_source import Source
from gatewise.training.trained_text import TrainedText, load_text_run
from gatewise.training.trainings import TRAININGS, load, resume

__all__ = [
    "RECIPES",
    "TRAININGS",
    "Interrupted",
    "Reporter",
    "Run",
    "Silent",
    "Source",
    "TextSettings",
    "TrainedText",
    "Watch",
    "finite",
    "load",
    "load_text_run",
    "perplexity",
    "reporter",
    "resume",
    "text_settings",
    "train_text",
]
