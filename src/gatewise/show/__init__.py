"""Pictures of runs."""

from gatewise.show.curve import draw_run
from gatewise.show.latent import draw_latent_run, draw_series

__all__ = ["draw_latent_run", "draw_run", "draw_series"]
