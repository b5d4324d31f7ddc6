"""Tasks: data to batch to loss to prediction to metric."""

from gatewise.tasks.generate import Sampling, encode_prompt, generate, longest_copy
from gatewise.tasks.text import TextTask, stream_loss

__all__ = ["Sampling", "TextTask", "encode_prompt", "generate", "longest_copy", "stream_loss"]
