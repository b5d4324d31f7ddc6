"""What the estimators have in common: settings as parameters, in scikit-learn's manner."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from gatewise.errors import UserError, nearest
from gatewise.training import TRAININGS, Watch, reporter
from gatewise.training.lifecycle import train
from gatewise.training.settings import NetworkSettings, about, settings_from


class Estimator(BaseEstimator):
    """A training as an object with ``fit``: its parameters are the options of the command ``gatewise train``.

    Nothing is checked before ``fit``, as scikit-learn wants it; ``get_params``, ``set_params`` and ``clone`` work, so
    that an estimator can stand in a ``Pipeline`` or a ``GridSearchCV``.
    """

    task: ClassVar[str]
    instead: ClassVar[Mapping[str, Any]] = {}
    """Defaults of the estimator where the command's make no sense for it."""
    left_out: ClassVar[frozenset[str]] = frozenset()
    """Options of the command that an estimator does not have."""

    verbose: bool
    summary_: dict[str, Any]
    trained_: Any

    def __init_subclass__(cls, **more: Any) -> None:
        """Give the class a signature from which scikit-learn and people read its parameters, and describe them."""
        super().__init_subclass__(**more)
        defaults, words = cls._defaults(), []
        for field in cls._fields():
            rules = about(field)
            default = rules.default if rules.default and defaults[field.name] == field.default else None
            words.append(f"        {field.name}: {rules.help} (default: {default or repr(defaults[field.name])}).")
        cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\nParameters:\n" + "\n".join(words)

        def begin(self: Estimator, **given: Any) -> None:
            for name in given:
                if name not in defaults:
                    raise TypeError(f"{cls.__name__} has no parameter '{name}': {nearest(name, defaults)}")
            for name, default in defaults.items():
                setattr(self, name, given.get(name, default))

        one = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        one += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d) for n, d in defaults.items()]
        begin.__signature__ = inspect.Signature(one)  # type: ignore[attr-defined]
        cls.__init__ = begin

    @classmethod
    def _settings(cls) -> type[NetworkSettings]:
        return TRAININGS[cls.task].settings

    @classmethod
    def _fields(cls) -> list[dataclasses.Field[Any]]:
        return [field for field in dataclasses.fields(cls._settings()) if field.name not in cls.left_out]

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        own = {field.name: cls.instead.get(field.name, field.default) for field in cls._fields()}
        return own | {"verbose": False}

    def _chosen(self, **more: Any) -> NetworkSettings:
        """The settings that the parameters are, and ``more`` of them."""
        plain = {field.name: field.default for field in self._fields()}
        given = {name: getattr(self, name) for name in plain}
        chosen = {name: value for name, value in given.items() if value != plain[name]}
        try:
            return settings_from(self._settings(), chosen | more)
        except UserError as error:
            raise _in_python(error, plain) from None

    def _train(self, source: Any, settings: NetworkSettings) -> None:
        """Train in a folder that is gone afterwards; what was trained stays."""
        with TemporaryDirectory() as folder, reporter(not self.verbose) as report:
            watch = Watch(report) if self.verbose else Watch()
            try:
                run, self.summary_ = train(TRAININGS[self.task], source, settings, Path(folder) / "run", watch)
            except UserError as error:
                raise _in_python(error, [field.name for field in self._fields()]) from None
            self.trained_ = TRAININGS[self.task].load(run)

    def _fitted(self) -> Any:
        check_is_fitted(self)
        return self.trained_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trained_")


def _in_python(error: UserError, names: Iterable[str]) -> UserError:
    """The message with options as Python writes them: ``weight_decay`` and not ``--weight-decay``."""
    message = str(error)
    for name in sorted(names, key=len, reverse=True):
        message = message.replace(f"--{name.replace('_', '-')}", name)
    return UserError(message)
