"""Forecasting, regression and classification in scikit-learn's manner."""

from gatewise.estimators.classifier import Classifier
from gatewise.estimators.forecaster import Forecaster
from gatewise.estimators.regressor import Regressor

__all__ = ["Classifier", "Forecaster", "Regressor"]
