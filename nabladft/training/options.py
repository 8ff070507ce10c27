"""TOML tables read into frozen dataclasses: unknown keys, wrong types, values out of their domain.

A configuration is a dataclass whose annotations say everything: types, defaults, nested tables
(other dataclasses), choices (``Literal``), and domains (``Annotated[float, Bound(...)]``).

Example:
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     cutoff: Positive = 5.0
    ...     activation: Literal["silu", "tanh"] = "silu"
    >>> read_table(Options, {"cutoff": 6}, table="model", place="config.toml")
    Options(cutoff=6.0, activation='silu')
    >>> read_table(Options, {"cutof": 6}, table="m", place="a.toml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    nabladft.errors.ConfigError: a.toml: [m] has no option 'cutof'. Did you mean ...
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

from nabladft.errors import ConfigError, InputError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")


@dataclass(frozen=True)
class Bound:
    """Smallest and largest allowed value of a number; ``above`` and ``below`` exclude it."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def allows(self, value: float) -> bool:
        """Tell whether a value is inside."""
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Say what is allowed: ``"above 0, at most 1"``."""
        limits = dataclasses.asdict(self).items()
        return ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in limits if v is not None)


Positive = Annotated[float, Bound(above=0.0)]
NotNegative = Annotated[float, Bound(at_least=0.0)]
Fraction = Annotated[float, Bound(at_least=0.0, at_most=1.0)]
PositiveInt = Annotated[int, Bound(at_least=1)]
NotNegativeInt = Annotated[int, Bound(at_least=0)]


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        InputError: There is no such file.
        ConfigError: It is not TOML; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"There is no configuration file {path}."
        raise InputError(message) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not a TOML file: {error}."
        raise ConfigError(message) from None


def write_toml(content: Mapping[str, Any]) -> str:
    """Write nested tables as TOML; entries that are None are left out.

    Example:
        >>> print(write_toml({"training": {"seed": 1, "loggers": ["csv"], "ema": {"decay": 0.9}}}))
        [training]
        seed = 1
        loggers = ["csv"]
        <BLANKLINE>
        [training.ema]
        decay = 0.9
        <BLANKLINE>
    """
    return "\n".join(_toml_lines(content, ())).lstrip("\n") + "\n"


def apply_overrides(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Put ``"training.max_epochs=3"`` and the like into a configuration.

    The value is read as TOML; a bare word is a string and ``none`` removes the entry.

    Args:
        table: Nested tables; not changed.
        overrides: Dotted name, ``=``, value.

    Raises:
        ConfigError: An override is not of that form, or goes through something that is no table.
    """
    result = _copy(table)
    for override in overrides:
        name, equals, text = override.partition("=")
        parts = [part.strip() for part in name.split(".")]
        if not equals or not all(parts) or len(parts) < 2:
            message = (
                f"Option {override!r} is not of the form TABLE.NAME=VALUE, "
                "for example training.max_epochs=3."
            )
            raise ConfigError(message)
        inner = result
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                message = f"Option {override!r}: {part!r} is a value, not a table."
                raise ConfigError(message)
        if text.strip().lower() == "none":
            inner.pop(parts[-1], None)
        else:
            inner[parts[-1]] = _parse_value(text.strip())
    return result


def read_table(config: type[T], values: Mapping[str, Any], *, table: str, place: str) -> T:
    """Make a configuration out of a table, checking every name, type and domain.

    Args:
        config: A dataclass type; its annotations are the schema.
        values: The table.
        table: Its name, for messages.
        place: The file it comes from, for messages.

    Raises:
        ConfigError: An option is unknown, absent without a default, of another type, or outside
            its domain; or the dataclass refuses the combination. The message has the file, the
            table, the option, the value and what is allowed.
    """
    where = f"{place}: [{table}]"
    if not isinstance(values, dict):
        message = f"{where} must be a table, got {values!r}."
        raise ConfigError(message)
    fields = {field.name: field for field in dataclasses.fields(config) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            message = (
                f"{where} has no option {name!r}.{suggestion(name, fields)} "
                f"Known: {', '.join(fields) or 'none'}."
            )
            raise ConfigError(message)
    required = [
        name
        for name, field in fields.items()
        if field.default is field.default_factory is dataclasses.MISSING
    ]
    absent = [name for name in required if name not in values]
    if absent:
        message = f"{where} lacks {', '.join(absent)}, which have no default."
        raise ConfigError(message)
    try:
        hints = typing.get_type_hints(config, include_extras=True)
    except NameError as error:
        message = f"{config.__name__} cannot be read: {error}. Import it outside TYPE_CHECKING."
        raise ConfigError(message) from None
    read = {
        name: _read_value(hints[name], value, f"{table}.{name}", place)
        for name, value in values.items()
    }
    try:
        return config(**read)
    except ConfigError as error:
        message = f"{where}: {error}"
        raise ConfigError(message) from None
    except (TypeError, ValueError) as error:
        message = f"{where} cannot be used: {error}"
        raise ConfigError(message) from error


def as_table(config: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """Turn a configuration back into nested tables, with every default filled in."""
    table: dict[str, Any] = dataclasses.asdict(config)
    return table


def _read_value(hint: Any, value: Any, name: str, place: str) -> Any:  # noqa: ANN401
    """Check a value against an annotation that may be composed of others."""
    if dataclasses.is_dataclass(hint):
        return read_table(typing.cast(type[Any], hint), value, table=name, place=place)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        number = _read_value(arguments[0], value, name, place)
        for bound in arguments[1:]:
            if isinstance(bound, Bound) and not bound.allows(number):
                raise _refusal(value, str(bound), name, place)
        return number
    if origin in {types.UnionType, typing.Union}:
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _read_value(inner, value, name, place)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _refusal(value, "a list", name, place)
        return tuple(_read_value(arguments[0], item, name, place) for item in value)
    if origin is Literal:
        if value not in arguments:
            close = suggestion(value, arguments) if isinstance(value, str) else ""
            choices = ", ".join(map(repr, arguments))
            raise _refusal(value, f"one of {choices}", name, place, close)
        return value
    return _read_scalar(hint, value, name, place)


def _read_scalar(hint: Any, value: Any, name: str, place: str) -> Any:  # noqa: ANN401
    expected = {float: "a finite number", int: "an integer", bool: "true or false", str: "a string"}
    if hint not in expected:
        message = f"The annotation {hint} of option {name} is of no kind that TOML can give."
        raise ConfigError(message)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number and math.isfinite(value):
        return float(value)
    if hint is int and is_number and isinstance(value, int):
        return value
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise _refusal(value, expected[hint], name, place)


def _refusal(value: object, expected: str, name: str, place: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{place}: {name} = {value!r}, but it must be {expected}.{hint}")


def _parse_value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, dict) else v for k, v in table.items()}


def _toml_lines(content: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    present = {name: value for name, value in content.items() if value is not None}
    tables = {name: value for name, value in present.items() if isinstance(value, dict)}
    lines = [f"{k} = {_toml_value(v)}" for k, v in present.items() if k not in tables]
    if path and (lines or not tables):
        lines = ["", f"[{'.'.join(path)}]", *lines]
    for name, value in tables.items():
        lines += _toml_lines(value, (*path, name))
    return lines


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
