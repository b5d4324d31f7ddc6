"""Training: the one loop, the run folder, the only writer of weights."""

from gatewise.training.metrics import finite, perplexity
from gatewise.training.progress import Reporter, Silent, reporter
from gatewise.training.run import Run
from gatewise.training.settings import RECIPES, TextSettings, text_settings
from gatewise.training.signals import Interrupted
from gatewise.training.text_run import Watch, resume_text, train_text
from gatewise.training.text_source import Source
from gatewise.training.trained_text import TrainedText, load_text_run

__all__ = [
    "RECIPES",
    "Interrupted",
    "Reporter",
    "Run",
    "Silent",
    "Source",
    "TextSettings",
    "TrainedText",
    "Watch",
    "finite",
    "load_text_run",
    "perplexity",
    "reporter",
    "resume_text",
    "text_settings",
    "train_text",
]
