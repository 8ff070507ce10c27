"""What makes an HDF5 file a predictions file; everything else is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import h5py
import numpy as np

from nabladft import __version__
from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.units import convert
from nabladft.errors import FormatError, NablaDFTError, PredictionsError, UnitError, suggestion
from nabladft.fields import FIELDS
from nabladft.predictions.format import (
    FORMAT,
    FORMAT_VERSION,
    MATRIX_FIELDS,
    PREDICTED_FIELDS,
    STRUCTURE,
    PredictionsInfo,
)

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

#: Deflate cannot do better than 1032 : 1; a file that promises more is not data.
_LARGEST_COMPRESSION: Final = 1100


def refuse(file: h5py.File, reason: str) -> NoReturn:
    """Raise the error that names the file.

    Raises:
        PredictionsError: Always.
    """
    message = f"{Path(file.filename).name}: {reason}."
    raise PredictionsError(message)


def check_format(file: h5py.File) -> None:
    """Refuse a file of another format or version.

    Raises:
        FormatError: It is one.
    """
    found = file.attrs.get("format")
    if found != FORMAT:
        message = (
            f"{file.filename} is not a predictions file: its attribute 'format' is {found!r}, "
            f"{FORMAT!r} expected. See docs/predictions-format.md."
        )
        raise FormatError(message)
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        message = (
            f"{file.filename} has predictions format version {version}; nabladft {__version__} "
            f"reads version {FORMAT_VERSION}."
        )
        raise FormatError(message)


def check_arrays(file: h5py.File) -> None:
    """Refuse members that are unknown, missing, links, or of a wrong type or rank.

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
        PredictionsError: One is missing or is not a text.
        UnknownNameError: The basis set of the matrices is unknown.
    """
    text: dict[str, str] = {}
    for name in ("dataset", "data_hash", "model", "split", "split_hash", "part"):
        value = file.attrs.get(name)
        if value is not None:
            text[name] = _text(file, value, name)
        elif name in {"dataset", "data_hash", "model"}:
            refuse(file, f"the root attribute {name!r} is missing")
    for matrix in (name for name in MATRIX_FIELDS if name in file):
        for name in ("orbital_order", "basis_set"):
            value = file[matrix].attrs.get(name)
            if value is None:
                refuse(file, f"the attribute {name!r} of {matrix!r} is missing")
            if _text(file, value, name) != text.setdefault(name, value):
                refuse(file, f"its matrices differ in {name!r}: {text[name]!r} and {value!r}")
        basis_set_named(text["basis_set"])
    version = _text(file, file.attrs.get("code_version", "not given"), "code_version")
    try:
        details: Any = json.loads(_text(file, file.attrs.get("details", "{}"), "details"))
    except json.JSONDecodeError as error:
        refuse(file, f"the attribute 'details' is not JSON: {error}")
    if not isinstance(details, dict):
        refuse(file, "the attribute 'details' is not a JSON object")
    return PredictionsInfo(**text, code_version=version, details=details)


def unit_of(dataset: h5py.Dataset) -> str:
    """Read the unit of a quantity.

    Raises:
        UnitError: There is none, it is unknown, or it measures something else.
    """
    name = dataset.name.lstrip("/")
    expected = FIELDS[name].unit
    place = Path(dataset.file.filename).name
    unit = dataset.attrs.get("unit")
    if not isinstance(unit, str):
        message = f"{place}: {name!r} has no attribute 'unit'. Write it, for example {expected!r}."
        raise UnitError(message)
    try:
        convert(1.0, source=unit, target=expected)
    except NablaDFTError as error:
        error.add_note(f"(unit of {name!r} in {place}; {expected} expected)")
        raise
    return unit


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
            f"it holds {name!r}, which this format does not know.{suggestion(name, known)} Known: "
            f"{', '.join(known)}",
        )


def _check_array(file: h5py.File, name: str) -> None:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        refuse(file, f"{name!r} is a link; links are not followed, store the array itself")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        refuse(file, f"{name!r} is a group, an array is expected")
    if dataset.is_virtual or dataset.external:
        refuse(file, f"the values of {name!r} are in another file; store them in this one")
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
    if dataset.nbytes > _LARGEST_COMPRESSION * Path(file.filename).stat().st_size:
        refuse(file, f"{name!r} declares {dataset.nbytes} bytes, more than the file can hold")


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
