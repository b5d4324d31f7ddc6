"""Pictures of runs."""

from gatewise.show.curve import draw_curve

__all__ = ["draw_curve"]
