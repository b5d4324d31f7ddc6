"""Pictures of what is learned from tables and sequences; each takes plain arrays."""

from gatewise.show.series.confusion import draw_confusion
from gatewise.show.series.forecasts import Forecast, draw_forecasts
from gatewise.show.series.horizon import draw_horizon
from gatewise.show.series.observed import draw_observed
from gatewise.show.series.residuals import draw_residuals

__all__ = ["Forecast", "draw_confusion", "draw_forecasts", "draw_horizon", "draw_observed", "draw_residuals"]
