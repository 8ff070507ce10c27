r"""Pickles that can build arrays, dicts, lists, strings and numbers, and nothing else.

A pickle is a program: loading one from elsewhere runs whatever its author wished. The published
wavefunctions are pickles nevertheless, so they are read here by an interpreter that knows the few
names that NumPy arrays need. It does not even call NumPy's own functions with what the file says,
because these trust it (a wrong size, or an array of objects made of raw bytes, ends in foreign
memory): every name stands for a checked function of this module, no name for a class, and arrays
are built at the end from their bytes.

The sequence of operations is looked through first, so that a few bytes cannot ask for gigabytes.

Example:
    >>> import pickle
    >>> import numpy as np
    >>> load_arrays(pickle.dumps({"H": np.eye(2), "n": 3}))["H"]
    array([[1., 0.],
           [0., 1.]])
    >>> load_arrays(b"cos\nsystem\n.")
    Traceback (most recent call last):
    nabladft.errors.FormatError: The pickle asks for 'os.system', which arrays do not need. ...
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from nabladft.errors import FormatError, NablaDFTError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: First bytes of NumPy's file format.
NPY_MAGIC: Final = b"\x93NUMPY"

#: A file larger than this is no wavefunction of a molecule; the published ones have 10 MB.
_LARGEST_FILE: Final = 1 << 31

#: Containers within containers, which nothing here needs many of.
_DEEPEST: Final = 50

#: Kinds of array elements: booleans, integers, floats, complex numbers, bytes, text, objects.
_KINDS: Final = "biufcSUO"


def load_arrays(content: bytes) -> Any:  # noqa: ANN401 - whatever was pickled
    """Load a pickle of arrays, dicts, lists, tuples, strings and numbers.

    Args:
        content: A pickle of any protocol, by NumPy 1 or 2.

    Returns:
        What was pickled. NumPy scalars become Python numbers, and an ``OrderedDict`` a dict.

    Raises:
        FormatError: The pickle is damaged, or asks for anything else.
    """
    _look_through(content)
    try:
        found = _ArrayUnpickler(io.BytesIO(content)).load()
        return _finished(found, {}, 0)
    except NablaDFTError:
        raise
    except Exception as error:
        message = f"The pickle is damaged ({type(error).__name__}: {error})."
        raise FormatError(message) from error


def load_npy_dict(path: Path) -> dict[Any, Any]:
    """Load a ``.npy`` file that holds one pickled dict, as Psi4 writes wavefunctions.

    Raises:
        FormatError: The file is of another kind, damaged, or asks for more than arrays; the message
            names it.
        OSError: The file cannot be read.
    """
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        message = f"{path} has {size} bytes; a pickled wavefunction has some ten million."
        raise FormatError(message)
    content = path.read_bytes()
    if not content.startswith(NPY_MAGIC):
        message = f"{path} is not a .npy file of NumPy."
        raise FormatError(message)
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    except ValueError as error:
        message = f"{path} has a damaged header ({error}). Download or copy it again."
        raise FormatError(message) from error
    if not dtype.hasobject or shape != ():
        message = f"{path} is an array of {dtype} of shape {shape}, not a pickled dict."
        raise FormatError(message)
    try:
        found = load_arrays(content[file.tell() :])
    except FormatError as error:
        message = f"{path} cannot be read: {error}"
        raise FormatError(message) from error
    if isinstance(found, np.ndarray) and found.shape == () and isinstance(found.item(), dict):
        return dict(found.item())
    if isinstance(found, dict):
        return found
    message = f"{path} holds no dict."
    raise FormatError(message)


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler to which only the names in :data:`_NAMES` mean anything."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401
        try:
            return _NAMES[module_name, global_name]
        except KeyError:
            _refuse(f"asks for '{module_name}.{global_name}', which arrays do not need")

    def persistent_load(self, pid: Any, /) -> Any:  # noqa: ANN401
        _refuse(f"refers to an object outside of it ({pid!r})")


class _Global:
    """What a name in a pickle stands for: something that can be called, and not be changed."""

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401
        return self._make(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        _refuse(f"tries to set {name!r} of a function")

    def __setstate__(self, state: object) -> None:
        _refuse("tries to change a function")


class _Dtype:
    """A type of array elements, checked and complete when it is used."""

    __slots__ = ("order", "text")

    def __init__(self, text: object, *_: object) -> None:
        if not isinstance(text, str) or text[:1] not in _KINDS or not text[1:].isdigit():
            _refuse(f"has arrays of {text!r}; only plain numbers, text and objects can be read")
        self.text = text
        self.order = "="

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        # (version, byte order, subarray, names, fields, ...): the rest is of structured types.
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            _refuse("has arrays of structured elements")
        self.order = state[1]

    def finished(self) -> np.dtype[Any]:
        if self.text.startswith("O"):
            return np.dtype(object)
        swapped = self.order in "<>" and self.text[0] not in "SO"
        return np.dtype(self.order + self.text if swapped else self.text)


class _Array:
    """An array, of which only the description and the bytes are kept until the end."""

    __slots__ = ("content", "dtype", "fortran", "shape")

    def __init__(self) -> None:
        self.dtype: _Dtype | None = None

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        _, shape, dtype, fortran, content = state
        self.set(shape, dtype, fortran=bool(fortran), content=content)

    def set(self, shape: Any, dtype: Any, *, fortran: bool, content: Any) -> None:  # noqa: ANN401
        if self.dtype is not None or not isinstance(dtype, _Dtype):
            _refuse("has an array without a type, or with two")
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            _refuse(f"has an array of shape {shape!r}")
        self.shape, self.dtype, self.fortran, self.content = shape, dtype, fortran, content

    def finished(self, finish: Callable[[Any], Any]) -> np.ndarray[Any, Any]:
        if self.dtype is None:
            _refuse("has an array without contents")
        dtype, n_values = self.dtype.finished(), math.prod(self.shape)
        if dtype.hasobject:
            if not isinstance(self.content, list) or len(self.content) != n_values:
                _refuse(f"has an array of {n_values} objects that are not listed")
            array = np.empty(n_values, dtype=object)
            for place, value in enumerate(self.content):
                array[place] = finish(value)
        else:
            n_bytes = n_values * dtype.itemsize
            if not isinstance(self.content, bytes) or len(self.content) != n_bytes:
                _refuse(f"has an array of shape {self.shape} {dtype} without its {n_bytes} bytes")
            array = np.frombuffer(self.content, dtype=dtype).astype(dtype.newbyteorder("="))
        return array.reshape(self.shape, order="F" if self.fortran else "C")


def _finished(value: Any, done: dict[int, Any], depth: int) -> Any:  # noqa: ANN401
    """Turn what was loaded into plain objects, each once, however often it is referred to."""
    if isinstance(value, str | bytes | int | float | complex | None):
        return value
    if depth > _DEEPEST:
        _refuse(f"is nested more than {_DEEPEST} deep")
    if id(value) in done:
        return done[id(value)][1]

    def finish(part: Any) -> Any:  # noqa: ANN401
        return _finished(part, done, depth + 1)

    result: Any
    if isinstance(value, _Array):
        result = value.finished(finish)
    elif type(value) is dict:
        result = {finish(key): finish(part) for key, part in value.items()}
    elif type(value) is list:
        result = [finish(part) for part in value]
    elif type(value) is tuple:
        result = tuple(finish(part) for part in value)
    else:
        _refuse(f"holds a {type(value).__name__.strip('_')}")
    done[id(value)] = (value, result)  # the value too, so that its id stays its own
    return result


def _look_through(content: bytes) -> None:
    """Refuse a pickle whose operations ask for more memory than it has bytes."""
    try:
        for operation, argument, position in pickletools.genops(content):
            number: Any = argument
            if operation.name == "FRAME":
                too_large = number > len(content) - (position or 0)
            elif operation.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                too_large = number > len(content)
            else:
                too_large = operation.name in ("INT", "LONG") and number.bit_length() > 128
            if too_large:
                _refuse(f"is damaged: {operation.name} {argument} at byte {position}")
    except FormatError:
        raise
    except Exception as error:
        message = f"The pickle is damaged ({type(error).__name__}: {error})."
        raise FormatError(message) from error


def _refuse(reason: str) -> NoReturn:
    message = f"The pickle {reason}. If you trust where it is from, load it with pickle yourself."
    raise FormatError(message)


def _reconstruct(*_: object) -> _Array:
    """Begin an array; its type and contents follow."""
    return _Array()


def _scalar(dtype: object, content: object) -> Any:  # noqa: ANN401 - a number, text or bytes
    array = _Array()
    array.set((), dtype, fortran=False, content=content)
    if array.dtype is not None and array.dtype.text.startswith("O"):
        _refuse("has a scalar of objects")
    return array.finished(lambda value: value).item()


def _from_buffer(content: Any, dtype: object, shape: object, order: object) -> _Array:  # noqa: ANN401
    array = _Array()
    if isinstance(content, bytearray | pickle.PickleBuffer):
        content = bytes(content)
    array.set(shape, dtype, fortran=order == "F", content=content)
    return array


def _encode(text: object, encoding: object) -> bytes:
    """What protocol 2 writes for bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        _refuse(f"encodes text as {encoding!r}")
    return text.encode("latin1")


def _no_bytes(*arguments: object) -> bytes:
    """What protocols before 3 write for no bytes at all."""
    if arguments:
        _refuse("makes bytes out of other objects")
    return b""


def _not_called(*_: object) -> NoReturn:
    _refuse("makes an array in a way that is not known")


#: Every name that a pickle may use. NumPy 2 calls its core ``numpy._core``.
_NAMES: Final[dict[tuple[str, str], _Global]] = {
    ("numpy", "ndarray"): _Global(_not_called),
    ("numpy", "dtype"): _Global(_Dtype),
    ("_codecs", "encode"): _Global(_encode),
    ("builtins", "bytes"): _Global(_no_bytes),
    ("__builtin__", "bytes"): _Global(_no_bytes),
    ("collections", "OrderedDict"): _Global(dict),
    **{
        (f"numpy.{core}.{module}", name): _Global(make)
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
