"""What is tuned: settings by name, each with the range it is looked for in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gatewise.errors import UserError, nearest
from gatewise.training.settings import NetworkSettings

REACH = ("lookback", "window", "steps")
"""Settings that say how far back a model sees: how much of it there can be depends on the data."""

BY_DEFAULT = ("lr", "hidden", "layers", "weight_decay", "dropout", *REACH)
"""What is looked for where the user does not say."""

_ON_REQUEST = ("batch", "clip", "warmup", "embedding", "zoneout", "recurrent_dropout", "weight_drop")
_LOGARITHMIC = {"lr", "hidden", "weight_decay", "batch", "clip", "embedding", *REACH}
_SCALES = {"log": True, "linear": False}


@dataclass(frozen=True)
class Range:
    """A setting and where its best value is looked for.

    Attributes:
        name: of the setting.
        low: the smallest value, included.
        high: the largest, included.
        whole: whether the values are whole numbers.
        log: whether equal ratios, and not equal differences, are equally likely.

    Example:
        >>> Range("hidden", 16, 256, whole=True, log=True).at(0.5)
        63
    """

    name: str
    low: float
    high: float
    whole: bool = False
    log: bool = False

    def at(self, share: float) -> float | int:
        """The value that lies so far (0 to 1) between the ends; a whole number has a stretch of its own, as wide as
        any other's on the range's scale."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        if self.whole:
            return int(min(max(math.floor(value + 0.5), self.low), self.high))
        return min(max(value, self.low), self.high)

    def __str__(self) -> str:
        scale = ", log" if self.log else ""
        return f"{self.name} {self.low:g} to {self.high:g}{scale}"

    def to_config(self) -> dict[str, Any]:
        """As ``from_config`` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Range:
        return cls(**config)


def tunable(settings: NetworkSettings) -> list[str]:
    """The names of what can be looked for."""
    names = {field.name for field in dataclasses.fields(settings)}
    return [name for name in (*BY_DEFAULT, *_ON_REQUEST) if name in names]


@dataclass(frozen=True)
class Looked:
    """What the user said of what is looked for, checked.

    Attributes:
        given: settings that were given a value, which they keep.
        only: the only names that are looked for; None where that was not said.
        own: ranges in place of the default ones.
    """

    given: frozenset[str]
    only: tuple[str, ...] | None
    own: tuple[Range, ...]

    @classmethod
    def parsed(
        cls, settings: NetworkSettings, given: Collection[str] = (), only: str | None = None,
        changed: Iterable[str] = (),
    ) -> Looked:  # fmt: skip
        """From the words of a command line.

        Args:
            settings: of all trials.
            given: names of those that were given a value.
            only: names with commas between.
            changed: ranges, as :func:`parse` takes them.

        Raises:
            UserError: a name that is not known or said twice, a range that the setting does not take.
        """
        own = tuple(parse(text, settings) for text in changed)
        _once([r.name for r in own], "--range")
        wanted = None if only is None else tuple(_names(only, settings))
        for name in given:
            if name in (*(r.name for r in own), *(wanted or ())):
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option}: is given a value and a range; leave out the one or the other")
        for unused in (r.name for r in own if wanted is not None and r.name not in wanted):
            raise UserError(f"--range {unused}: is not in --only {only}; name it there too, or leave it out")
        return cls(frozenset(given), wanted, own)

    def ranges(self, settings: NetworkSettings) -> list[Range]:
        """What is looked for, and where: around the sizes of these settings, if nothing else was said.

        Raises:
            UserError: nothing is left to look for.
        """
        wanted = self.only or (*BY_DEFAULT, *(r.name for r in self.own))
        defaults = {r.name: r for r in _defaults(settings, self.only is not None) if r.name not in self.given}
        chosen = defaults | {r.name: r for r in self.own}
        found = [chosen[name] for name in tunable(settings) if name in wanted and name in chosen]
        if not found:
            raise UserError("nothing is left to look for; give fewer settings a value, or name some with --range")
        return found


def parse(text: str, settings: NetworkSettings) -> Range:
    """``lr=0.001:0.03``, or with the scale, ``dropout=0:0.5:linear``.

    >>> from gatewise.training import TextSettings
    >>> str(parse("hidden=32:256", TextSettings()))
    'hidden 32 to 256, log'
    """
    option = f"--range {text}"
    name, equals, ends = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    _known(name, "--range", settings)
    parts = [part.strip() for part in ends.split(":")]
    if not equals or len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in _SCALES):
        raise UserError(f"{option}: want NAME=LOW:HIGH, such as lr=0.001:0.03, with :log or :linear after it if wanted")
    whole = _whole(name, settings)
    low, high = (_number(part, whole, option) for part in parts[:2])
    log = _SCALES[parts[2]] if len(parts) == 3 else name in _LOGARITHMIC and low > 0
    if not low < high:
        raise UserError(f"{option}: want the smaller end first, and ends that differ; --{name} {parts[0]} is one value")
    if log and low <= 0:
        raise UserError(f"{option}: a log scale has no {low:g}; want a low end above 0, or :linear after it")
    found = Range(name, low, high, whole, log)
    for end in (low, high):
        _check(found, end, settings, option)
    return found


def _defaults(settings: NetworkSettings, every: bool) -> list[Range]:
    """Ranges in which these settings usually lie; ``every``: of what is only looked for on request too."""
    sgd = settings.optimizer == "sgd"
    found = {
        "lr": Range("lr", 0.01, 3.0, log=True) if sgd else Range("lr", 1e-4, 3e-2, log=True),
        "layers": Range("layers", 1, 3, whole=True),
        "weight_decay": Range("weight_decay", 1e-5, 0.3, log=True),
        "dropout": Range("dropout", 0.0, 0.5 if settings.dropout < 0.5 else 0.7),
        "clip": Range("clip", 0.1, 10.0, log=True),
        "warmup": Range("warmup", 0.0, 0.3),
        **{name: Range(name, 0.0, 0.5) for name in ("zoneout", "recurrent_dropout", "weight_drop")},
    }
    if sgd:
        del found["weight_decay"]  # it belongs to AdamW
    if len(settings.cells) > 1 or len(settings.sizes) > 1:
        del found["layers"]  # as many as are listed
    for name in ("hidden", "batch", "embedding", *REACH):
        value = getattr(settings, name, None)
        if isinstance(value, int) and value > 0:
            found[name] = Range(name, max(1, value // 4), value * 2, whole=True, log=True)
    names = tunable(settings)
    wanted = [found[n] for n in names if n in found and (every or n in BY_DEFAULT)]
    return [r for r in wanted if _takes(r, settings)]


def _takes(found: Range, settings: NetworkSettings) -> bool:
    """Whether settings take a default range: the textbook's GRU has one layer and no dropout, and no others."""
    try:
        for end in (found.low, found.high):
            dataclasses.replace(settings, **{found.name: end})
    except UserError:
        return False
    return True


def _check(found: Range, end: float, settings: NetworkSettings, option: str) -> None:
    try:
        dataclasses.replace(settings, **{found.name: end})
    except UserError as error:
        raise UserError(f"{option}: {error}") from None


def _names(only: str, settings: NetworkSettings) -> list[str]:
    names = [name.strip().removeprefix("--").replace("-", "_") for name in only.split(",")]
    for name in names:
        _known(name, f"--only {only}", settings)
    _once(names, f"--only {only}")
    return names


def _once(names: Sequence[str], option: str) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UserError(f"{option}: {name} is said twice; say it once")


def _known(name: str, option: str, settings: NetworkSettings) -> None:
    names = tunable(settings)
    if name not in names:
        raise UserError(f"{option}: '{name}' cannot be looked for; {nearest(name, names)}")


def _whole(name: str, settings: NetworkSettings) -> bool:
    default = {field.name: field.default for field in dataclasses.fields(settings)}[name]
    return isinstance(default, int)


def _number(text: str, whole: bool, option: str) -> float | int:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        raise UserError(f"{option}: '{text}' is not a {'whole ' if whole else ''}number") from None
    if not math.isfinite(number):
        raise UserError(f"{option}: want finite ends")
    return number
