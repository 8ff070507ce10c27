import inspect

import pytest

from nabladft import errors
from nabladft.errors import (
    MissingExtraError,
    NablaDFTError,
    StoreError,
    UnknownNameError,
    missing_extra,
    suggestion,
)

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, Exception) and cls is not NablaDFTError
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_has_the_common_base_and_refines_a_builtin(cls):
    assert issubclass(cls, NablaDFTError)
    assert any(
        base.__module__ == "builtins" and base not in (Exception, BaseException, object)
        for base in cls.__mro__
    )
    assert cls.__doc__


@pytest.mark.parametrize(
    "cls", [cls for cls in CLASSES if cls is not UnknownNameError], ids=lambda cls: cls.__name__
)
def test_every_error_shows_its_message_without_quotes(cls):
    assert str(cls("what is wrong")) == "what is wrong"


def test_an_unknown_name_is_met_with_the_nearest_one():
    error = UnknownNameError("split", "tests", iter(["train", "test"]))

    assert str(error) == "No split 'tests'. Did you mean 'test'? Known: train, test."
    assert isinstance(error, KeyError)


def test_of_very_many_names_only_the_closest_are_listed():
    known = [f"energy/train-{number}" for number in range(50)]

    said = str(UnknownNameError("product", "energy/train-7x", known))

    assert "Did you mean 'energy/train-7'? There are 50, the closest: energy/train-7, " in said
    assert said.count("energy/train-") == 7
    assert str(UnknownNameError("product", "!", known)) == "No product '!'. There are 50."


def test_nothing_is_suggested_where_nothing_is_near():
    assert suggestion("xyz", ["train", "test"]) == ""
    assert suggestion("tran", ["train", "test"]) == " Did you mean 'train'?"


def test_a_missing_extra_says_what_to_install():
    error = missing_extra("Training a model", "train", ImportError(name="torch"))

    assert isinstance(error, MissingExtraError)
    assert isinstance(error, ImportError)
    assert str(error) == (
        'Training a model needs torch. Install it with: pip install "nabladft[train]"'
    )


def test_a_store_error_keeps_its_message_although_it_is_an_os_error():
    assert isinstance(StoreError("no space"), OSError)
    assert str(StoreError("no space", "left")) == "no space left"
