"""Tasks: data to batch to loss to prediction to metric."""

from gatewise.tasks.annealing import SHAPES, Annealing
from gatewise.tasks.autoencode import AutoencodeTask, Measured, Objective, measure
from gatewise.tasks.generate import encode_prompt, generate, longest_copy
from gatewise.tasks.latent import MOST_AT_ONCE, WAYS, Against, Findings, bounded, edits, examine, verdict, way
from gatewise.tasks.sampling import Sampling
from gatewise.tasks.task import Task
from gatewise.tasks.text import TextTask, perplexity, stream_loss
from gatewise.tasks.unconditional import UnconditionalTask, measure_unconditional

__all__ = [
    "MOST_AT_ONCE", "SHAPES", "WAYS", "Against", "Annealing", "AutoencodeTask", "Findings", "Measured", "Objective",
    "Sampling", "Task", "TextTask", "UnconditionalTask", "bounded", "edits", "encode_prompt", "examine",
    "generate", "longest_copy", "measure", "measure_unconditional", "perplexity", "stream_loss", "verdict", "way",
]  # fmt: skip
