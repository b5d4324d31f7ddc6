"""Pictures of runs."""

from gatewise.show.curve import draw_run

__all__ = ["draw_run"]
