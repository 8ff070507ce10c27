"""What makes an HDF5 file a predictions file; everything else is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft import __version__
from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.units import convert
from nabladft.errors import FormatError, NablaDFTError, UnitError, suggestion
from nabladft.fields import FIELDS
from nabladft.predictions.format import (
    FORMAT,
    FORMAT_VERSION,
    MATRIX_FIELDS,
    PREDICTED_FIELDS,
    STRUCTURE,
    PredictionsInfo,
)
from nabladft.predictions.hdf5_limits import (
    check_member,
    check_root,
    read_attribute,
    refuse,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    import h5py

#: Names are shown in tables and on pages; longer ones are not names.
_LONGEST_NAME: Final = 300


def check_format(file: h5py.File) -> None:
    """Refuse a file of another format or version, or whose root is not what a stranger may send.

    Raises:
        FormatError: It is of another format or version.
        PredictionsError: It has too many members, or attributes that are not plain.
    """
    check_root(file)
    place = Path(file.filename).name
    found = read_attribute(file, file, "format")
    if found != FORMAT:
        message = (
            f"{place} is not a predictions file: its attribute 'format' is {shown(repr(found))}, "
            f"{FORMAT!r} expected. See docs/predictions-format.md."
        )
        raise FormatError(message)
    version = read_attribute(file, file, "format_version")
    if version != FORMAT_VERSION:
        message = (
            f"{place} has predictions format version {shown(version)}; nabladft {__version__} "
            f"reads version {FORMAT_VERSION}."
        )
        raise FormatError(message)


def check_arrays(file: h5py.File) -> None:
    """Refuse members that are unknown, missing, links, or of a wrong type, rank or make.

    Raises:
        PredictionsError: There is one.
    """
    for name in file:
        _check_name(file, name)
        _check_array(file, name)
    present = set(file)
    for name in sorted(_needed(present) - present):
        refuse(file, f"the array {name!r} is missing")
    if not present & set(PREDICTED_FIELDS):
        refuse(file, f"it predicts nothing: one of {', '.join(PREDICTED_FIELDS)} is needed")


def read_info(file: h5py.File) -> PredictionsInfo:
    """Read the attributes.

    Raises:
        PredictionsError: One is missing, is not a text, or is no name that can be shown.
        UnknownNameError: The basis set of the matrices is unknown.
    """
    text: dict[str, str] = {}
    for name in ("dataset", "data_hash", "model", "split", "split_hash", "part", "code_version"):
        value = read_attribute(file, file, name)
        if value is not None:
            text[name] = _name(file, value, name)
        elif name in {"dataset", "data_hash", "model"}:
            refuse(file, f"the root attribute {name!r} is missing")
    text.setdefault("code_version", "not given")
    for matrix in (name for name in MATRIX_FIELDS if name in file):
        for name in ("orbital_order", "basis_set"):
            value = read_attribute(file, file[matrix], name)
            if value is None:
                refuse(file, f"the attribute {name!r} of {matrix!r} is missing")
            found = _name(file, value, name)
            if found != text.setdefault(name, found):
                refuse(file, f"its matrices differ in {name!r}: {text[name]!r} and {found!r}")
        basis_set_named(text["basis_set"])
    return PredictionsInfo(**text, details=_read_details(file))


def unit_of(file: h5py.File, name: str) -> str:
    """Read the unit of a quantity.

    Raises:
        UnitError: There is none, it is unknown, or it measures something else.
    """
    expected = FIELDS[name].unit
    place = Path(file.filename).name
    unit = read_attribute(file, file[name], "unit")
    if not isinstance(unit, str) or len(unit) > _LONGEST_NAME:
        message = f"{place}: {name!r} has no attribute 'unit'. Write it, for example {expected!r}."
        raise UnitError(message)
    try:
        convert(1.0, source=unit, target=expected)
    except NablaDFTError as error:
        error.add_note(f"(unit of {name!r} in {place}; {expected} expected)")
        raise
    return unit


def _read_details(file: h5py.File) -> dict[str, Any]:
    text = read_attribute(file, file, "details")
    try:
        details: Any = json.loads("{}" if text is None else _text(file, text, "details"))
    except (ValueError, RecursionError) as error:
        refuse(file, f"the attribute 'details' is not JSON: {shown(error)}")
    if not isinstance(details, dict):
        refuse(file, "the attribute 'details' is not a JSON object")
    return details


def _check_name(file: h5py.File, name: str) -> None:
    if name == "formation_energy":
        refuse(
            file,
            "'formation_energy' is not scored; write the total 'energy', which is the formation "
            "energy plus nabladft.chemistry.elements.isolated_atoms_energy(atomic_numbers)",
        )
    known = [*STRUCTURE, *PREDICTED_FIELDS]
    if name not in known:
        refuse(
            file,
            f"it holds {shown(ascii(name))}, which this format does not know."
            f"{suggestion(name[:_LONGEST_NAME], known)} Known: {', '.join(known)}",
        )


def _check_array(file: h5py.File, name: str) -> None:
    dataset = check_member(file, name)
    is_quantity = name in PREDICTED_FIELDS
    if dataset.dtype.kind not in ("f" if is_quantity else "iu"):
        expected = "floating-point numbers" if is_quantity else "integers"
        refuse(file, f"{name!r} has type {dataset.dtype}, {expected} expected")
    if name == "energy" and dataset.dtype.itemsize < np.dtype(np.float64).itemsize:
        refuse(
            file,
            f"'energy' is {dataset.dtype}, which rounds total energies by up to 0.04 kcal/mol; "
            "write float64",
        )
    if name == "forces" and (dataset.ndim != 2 or dataset.shape[1] != 3):
        refuse(file, f"'forces' has shape {dataset.shape}, (sum n_atoms, 3) expected")
    if name != "forces" and dataset.ndim != 1:
        refuse(file, f"{name!r} has shape {dataset.shape}, one axis expected")


def _needed(present: AbstractSet[str]) -> set[str]:
    needed = {"molecule_id", "conformation_id"}
    if present & {"forces", *MATRIX_FIELDS, "atom_offsets", "atomic_numbers"}:
        needed |= {"atom_offsets", "atomic_numbers"}
    for name in MATRIX_FIELDS:
        if present & {name, f"{name}_offsets"}:
            needed |= {name, f"{name}_offsets"}
    return needed


def _text(file: h5py.File, value: object, name: str) -> str:
    if not isinstance(value, str):
        refuse(file, f"the attribute {name!r} is {value!r}, a text is expected")
    return value


def _name(file: h5py.File, value: object, name: str) -> str:
    """Give a text that tables and pages can show: one line, no control characters."""
    text = _text(file, value, name)
    if len(text) > _LONGEST_NAME or not text.isprintable():
        refuse(
            file,
            f"the attribute {name!r} is {shown(ascii(text))}; at most {_LONGEST_NAME} printable "
            "characters on one line are expected",
        )
    return text
