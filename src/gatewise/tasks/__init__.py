"""Tasks: data to batch to loss to prediction to metric."""

from gatewise.tasks.generate import encode_prompt, generate, longest_copy
from gatewise.tasks.sampling import Sampling
from gatewise.tasks.text import TextTask, stream_loss

__all__ = ["Sampling", "TextTask", "encode_prompt", "generate", "longest_copy", "stream_loss"]
