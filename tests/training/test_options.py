"""TOML tables into dataclasses: what is read, what is refused, and how it is written back."""

import tomllib
from dataclasses import dataclass, field
from typing import Literal

import pytest

from nabladft.errors import ConfigError, InputError
from nabladft.training.options import (
    Fraction,
    Positive,
    PositiveInt,
    apply_overrides,
    as_table,
    read_table,
    read_toml,
    write_toml,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    decay: Fraction = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    width: PositiveInt
    rate: Positive = 1e-3
    name: Literal["cosine", "plateau"] = "cosine"
    patience: PositiveInt | None = None
    flags: tuple[str, ...] = ()
    is_on: bool = False
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self):
        if self.is_on and self.patience is None:
            raise ValueError("is_on needs patience")


def read(**values):
    return read_table(Options, values, table="training", place="a.toml")


def test_values_are_read_with_their_types():
    options = read(width=3, rate=1, flags=["a", "b"], inner={"decay": 0.25})

    assert options == Options(width=3, rate=1.0, flags=("a", "b"), inner=Inner(decay=0.25))
    assert isinstance(options.rate, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 1, "patiens": 3}, r"a.toml: .training. has no option 'patiens'. Did.*patience"),
        ({"width": 1, "inner": {"decai": 1}}, r"\[training.inner\] has no option 'decai'.*'decay'"),
        ({}, r"lacks width"),
        ({"width": 0}, r"training.width = 0, but it must be at least 1"),
        ({"width": 1.5}, r"training.width = 1.5, but it must be an integer"),
        ({"width": True}, r"training.width = True, but it must be an integer"),
        ({"width": 1, "rate": "fast"}, r"training.rate = 'fast', but it must be a finite number"),
        ({"width": 1, "rate": float("nan")}, r"training.rate = nan"),
        ({"width": 1, "rate": 0.0}, r"training.rate = 0.0, but it must be above 0"),
        ({"width": 1, "name": "cosin"}, r"one of 'cosine', 'plateau'. Did you mean 'cosine'"),
        ({"width": 1, "flags": "a"}, r"training.flags = 'a', but it must be a list"),
        ({"width": 1, "inner": {"decay": 2}}, r"training.inner.decay = 2.*at least 0, at most 1"),
        ({"width": 1, "inner": 3}, r"\[training.inner\] must be a table"),
        ({"width": 1, "is_on": 1}, r"training.is_on = 1, but it must be true or false"),
        ({"width": 1, "is_on": True}, r"\[training\] cannot be used: is_on needs patience"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_place(values, message):
    with pytest.raises(ConfigError, match=message):
        read(**values)


def test_overrides_reach_nested_tables_and_leave_the_original_alone():
    table = {"training": {"seed": 1, "inner": {"decay": 0.5}, "patience": 3}}

    changed = apply_overrides(
        table, ["training.inner.decay=0.9", "training.name=plateau", "training.patience=none"]
    )

    assert changed == {"training": {"seed": 1, "inner": {"decay": 0.9}, "name": "plateau"}}
    assert table["training"]["inner"]["decay"] == 0.5


@pytest.mark.parametrize("override", ["training.seed", "seed=3", "training..seed=3", "=3"])
def test_a_malformed_override_is_refused(override):
    with pytest.raises(ConfigError, match=r"form TABLE.NAME=VALUE"):
        apply_overrides({}, [override])


def test_an_override_through_a_value_is_refused():
    with pytest.raises(ConfigError, match="'seed' is a value, not a table"):
        apply_overrides({"training": {"seed": 1}}, ["training.seed.x=1"])


def test_what_is_written_reads_back():
    table = as_table(Options(width=2, flags=('quo"te', "back\\slash\n"), rate=1e-7))

    back = tomllib.loads(write_toml({"training": table}))["training"]

    assert read(**back) == Options(width=2, flags=('quo"te', "back\\slash\n"), rate=1e-7)


def test_a_file_that_is_not_toml_is_refused_with_its_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[model]\nwidth = = 3\n")

    with pytest.raises(ConfigError, match=r"config.toml is not a TOML file.*line 2"):
        read_toml(path)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no configuration file"):
        read_toml(tmp_path / "none.toml")
