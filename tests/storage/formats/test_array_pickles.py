import collections
import ctypes
import io
import os
import pickle
import struct

import numpy as np
import pytest

from nabladft.errors import FormatError
from nabladft.storage.formats import array_pickles
from nabladft.storage.formats.array_pickles import load_arrays, load_npy_dict

CONTENT = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 3)),
    "text": np.array(["H", "Cl"]),
    "true": np.array([True, False]),
    "scalar array": np.array(2.5),
    "objects": np.array([None, "x", 2], dtype=object),
    "numbers": [1, 2.5, 10**30, True, np.float64(2.5), np.int64(-3), np.bool_(True)],
    "nested": ({"a": (1, [2])}, None, b"bytes"),
    "ordered": collections.OrderedDict(b=1, a=2),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"], ids=["numpy 2", "numpy 1"])
def test_arrays_come_back_as_they_were(protocol, core):
    content = pickle.dumps(CONTENT, protocol=protocol)
    if core == b"numpy.core":
        # The length of a name comes before it, from protocol 4 on.
        for name in (b".multiarray", b".numeric"):
            old, new = b"numpy._core" + name, core + name
            content = content.replace(bytes([len(old)]) + old, bytes([len(new)]) + new)
            content = content.replace(b"c" + old + b"\n", b"c" + new + b"\n")
        if protocol >= 4:
            shorter = len(pickle.dumps(CONTENT, protocol=protocol)) - len(content)
            (frame,) = struct.unpack("<Q", content[3:11])
            content = content[:3] + struct.pack("<Q", frame - shorter) + content[11:]

    found = load_arrays(content)

    assert list(found) == list(CONTENT)
    for name, expected in CONTENT.items():
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(found[name], expected)
            assert found[name].dtype == expected.dtype.newbyteorder("=")
        else:
            assert found[name] == expected
    assert type(found["numbers"][4]) is float
    assert type(found["ordered"]) is dict


def test_what_is_referred_to_twice_is_built_once():
    matrix = np.eye(3)

    found = load_arrays(pickle.dumps({"Fa": matrix, "Fb": matrix}))

    assert found["Fa"] is found["Fb"]


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class WithState(Calls):
    """Pickles as a call whose result is changed afterwards."""

    def __init__(self, function, *arguments, state):
        super().__init__(function, *arguments)
        self.call = (*self.call, state)


RECONSTRUCT = np.zeros(1).__reduce__()[0]
OBJECT_BYTES = (1, (1,), np.dtype(object), False, b"\x00" * 8)


@pytest.mark.parametrize(
    ("hostile", "match"),
    [
        (Calls(os.system, "touch hacked"), r"asks for '(posix|nt)\.system', which arrays do not"),
        (Calls(eval, "open('hacked', 'w')"), r"asks for 'builtins\.eval'"),
        (Calls(getattr, "builtins", "eval"), r"asks for 'builtins\.getattr'"),
        (Calls(ctypes.CDLL, None), r"asks for 'ctypes\.CDLL'"),
        (Calls(np.fromfile, "/etc/passwd"), r"asks for 'numpy\.fromfile'"),
        (Calls(np.memmap, "hacked", "f8", "w+", 0, (3,)), r"asks for 'numpy\.memmap'"),
        (Calls(bytes, 10**12), "makes bytes out of other objects"),
        (Calls(np.dtype, "f8,O"), "has arrays of 'f8,O'"),
        (np.zeros(2, dtype="f8,i4"), "has arrays of 'V12'"),
        (np.zeros(2, dtype="M8[s]"), r"has arrays of 'M8'"),
        (Calls(RECONSTRUCT, np.ndarray, (10**12,), b"d"), "has an array without contents"),
        (WithState(RECONSTRUCT, np.ndarray, (0,), b"b", state=OBJECT_BYTES), "that are not listed"),
        (
            WithState(
                RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (10**9,), np.dtype("f8"), False, b"")
            ),
            r"shape \(1000000000,\) float64 without its 8000000000 bytes",
        ),
        (
            WithState(
                RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (-1, -8), np.dtype("f8"), False, b"")
            ),
            r"an array of shape \(-1, -8\)",
        ),
        ({1, 2}, "holds a set"),
        (CONTENT.keys, "asks for"),
    ],
)
def test_hostile_pickle_is_refused_and_nothing_runs(hostile, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"matrix": hostile})

    with pytest.raises(FormatError, match=match):
        load_arrays(content)
    assert list(tmp_path.iterdir()) == []


def short(text):
    return b"\x8c" + bytes([len(text)]) + text


#: Pushes the stand-in of numpy.dtype.
DTYPE = short(b"numpy") + short(b"dtype") + b"\x93"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"cos\nsystem\n(S'touch hacked'\ntR.", r"asks for 'os\.system'"),
        (b"(S'touch hacked'\nios\nsystem\n.", r"asks for 'os\.system'"),
        (b"Pbomb\n.", "refers to an object outside of it"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "refers to an object outside of it"),
        # State given to a function: (None, {"__defaults__": ()}) sets attributes.
        (
            b"\x80\x04" + DTYPE + b"N}" + short(b"_make") + b"Ns\x86b.",
            "tries to change a function",
        ),
        # A class wanted where a function stands.
        (b"\x80\x04" + DTYPE + b")\x81.", "is damaged"),
        # 10^18 bytes announced, none there; a memory of 10^9 places; a frame beyond the end.
        (b"\x80\x04\x8e" + struct.pack("<Q", 10**18) + b".", "is damaged"),
        (b"\x80\x04Nr" + struct.pack("<I", 10**9) + b".", "is damaged: LONG_BINPUT 1000000000"),
        (b"\x80\x04\x95" + struct.pack("<Q", 10**12) + b"N.", "is damaged: FRAME"),
        (b"I" + b"9" * 5000 + b"\n.", "is damaged"),
        (b"\x80\x04" + b"]" * 60 + b"a" * 59 + b".", "is nested more than 50 deep"),
        (b"\x80\x04]q\x00h\x00a.", "is nested more than 50 deep"),
        (b"\x80\x04N", "is damaged"),
        (b"", "is damaged"),
        (b"\x80\x04}]Ns.", "is damaged"),
    ],
)
def test_hostile_bytes_are_refused(content, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(FormatError, match=match):
        load_arrays(content)
    assert list(tmp_path.iterdir()) == []


def test_references_that_double_at_each_level_stay_small():
    value = [1.0]
    for _ in range(45):
        value = [value, value]

    found = load_arrays(pickle.dumps(value))

    assert found[0] is found[1]


def test_no_name_stands_for_a_class_or_can_be_changed():
    for stand_in in array_pickles._NAMES.values():
        assert not isinstance(stand_in, type)
        with pytest.raises(FormatError, match="tries to set"):
            stand_in._make = eval


def test_damage_anywhere_is_an_error_of_ours_or_other_values(rng):
    whole = bytearray(pickle.dumps({"H": np.eye(4), "names": ["a", "b"]}))
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), size=2):
            content[place] = rng.integers(0, 256)
        try:
            load_arrays(bytes(content))
        except FormatError:
            continue


def npy(value, **options):
    file = io.BytesIO()
    np.save(file, value, **options)
    return file.getvalue()


def test_file_of_a_dict_is_read(tmp_path):
    path = tmp_path / "1_0.npy"
    path.write_bytes(npy({"matrix": {"H": np.eye(2)}}))

    np.testing.assert_array_equal(load_npy_dict(path)["matrix"]["H"], np.eye(2))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy(np.eye(2)), r"is an array of float64 of shape \(2, 2\), not a pickled dict"),
        (npy([None, 1]), r"is an array of object of shape \(2,\), not a pickled dict"),
        (npy(np.array("x", dtype=object)), "holds no dict"),
        (npy({"a": 1})[:-9], "cannot be read: The pickle is damaged"),
        (npy({"a": 1})[:40], "has a damaged header"),
        (b"\x80\x04N.", "is not a .npy file"),
        (npy(np.array(Calls(os.system, "ls"), dtype=object)), r"1_0\.npy cannot be .*asks for"),
    ],
)
def test_file_of_another_kind_is_refused_with_its_name(tmp_path, content, match):
    path = tmp_path / "1_0.npy"
    path.write_bytes(content)

    with pytest.raises(FormatError, match=match):
        load_npy_dict(path)
