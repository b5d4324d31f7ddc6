"""Tasks: data to batch to loss to prediction to metric."""

from gatewise.tasks.generate import encode_prompt, generate, longest_copy
from gatewise.tasks.sampling import Sampling
from gatewise.tasks.task import Task
from gatewise.tasks.text import TextTask, perplexity, stream_loss

__all__ = ["Sampling", "Task", "TextTask", "encode_prompt", "generate", "longest_copy", "perplexity", "stream_loss"]
