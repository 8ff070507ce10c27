"""Predictions of others are converted, compared with the data, and refused if hostile."""

import io
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.errors import FormatError, InputError, NablaDFTError, PredictionsError, UnitError
from nabladft.predictions import Predictions, PredictionsInfo
from nabladft.predictions.foreign import import_predictions
from nabladft.predictions.foreign.npz import MOST_ENTRIES
from tests.conftest import MemorySource
from tests.predictions.foreign_files import arrays_of, frames_of, write_npz, xyz_text
from tests.scoring_data import random_records


@pytest.fixture(scope="module")
def records():
    return random_records()


@pytest.fixture(scope="module")
def source(records):
    return MemorySource(records)


@pytest.fixture
def part(records):
    """What is predicted: nine conformations, not in the order of the data."""
    return records[9:0:-1]


@pytest.fixture
def convert_file(tmp_path, source, part):
    """Convert, and read what was written."""

    def start(path, **options):
        import_predictions(
            path,
            tmp_path / "out.h5",
            info=PredictionsInfo(dataset="memory", data_hash=source.data_hash, model="m"),
            source=source,
            keys=[r.key for r in part],
            **options,
        )
        return Predictions(tmp_path / "out.h5")

    return start


@pytest.fixture
def xyz(tmp_path, part):
    """Write frames as text, changed by functions of the frames and of the text."""

    def write(frames=lambda frames: frames, text=lambda text: text):
        path = tmp_path / "p.xyz"
        path.write_text(text(xyz_text(frames(frames_of(part)))))
        return path

    return write


def check(predictions, part, *, forces_tolerance=1e-14):
    found = predictions.read([r.key for r in part])
    np.testing.assert_allclose(found.values["energy"], [r.energy for r in part], rtol=1e-15)
    np.testing.assert_allclose(
        found.values["forces"], np.concatenate([r.forces for r in part]), atol=forces_tolerance
    )
    assert found.atomic_numbers.tolist() == [z for r in part for z in r.atomic_numbers]


def test_npz_and_back(convert_file, tmp_path, part):
    predictions = convert_file(write_npz(tmp_path / "p.npz", part))

    check(predictions, part)
    details = predictions.info.details["converted_from"]
    assert details["energy_unit"] == "eV"
    assert details["forces_unit"] == "eV/angstrom"
    assert details["file"] == "p.npz"
    assert len(details["sha256"]) == 64


def test_the_order_of_an_npz_does_not_matter(convert_file, tmp_path, part):
    check(convert_file(write_npz(tmp_path / "p.npz", part[::-1])), part)


def test_ids_may_be_two_arrays_of_integers_or_bytes(convert_file, tmp_path, part):
    pairs = {
        "molecule_id": np.array([r.molecule_id for r in part], dtype=np.uint16),
        "conformation_id": np.array([r.conformation_id for r in part], dtype=np.int32),
    }
    check(convert_file(write_npz(tmp_path / "p.npz", part, ids=None, **pairs)), part)
    check(
        convert_file(write_npz(tmp_path / "p.npz", part, ids=arrays_of(part)["ids"].astype("S"))),
        part,
    )


def test_an_npz_without_forces_or_atoms(convert_file, tmp_path, part):
    path = write_npz(tmp_path / "p.npz", part, forces=None, natoms=None)

    assert convert_file(path).fields == ("energy",)


def test_units_come_from_the_user_or_the_file(convert_file, tmp_path, part):
    energies = np.array([r.energy for r in part])
    forces = np.concatenate([r.forces for r in part])
    given = {"energy": energies, "forces": forces}

    path = write_npz(tmp_path / "p.npz", part, **given, energy_unit=None)
    check(convert_file(path, energy_unit="hartree", forces_unit="hartree/bohr"), part)

    declared = {"energy_unit": np.array("hartree"), "forces_unit": np.array(b"hartree/bohr")}
    check(convert_file(write_npz(tmp_path / "p.npz", part, **given | declared)), part)


def test_formation_energies_get_their_atoms(convert_file, tmp_path, part):
    formation = [r.energy - isolated_atoms_energy(r.atomic_numbers) for r in part]
    path = write_npz(
        tmp_path / "p.npz",
        part,
        energy=np.array(formation, dtype=np.float32),
        energy_unit=np.array("hartree"),
        forces=None,
    )

    found = convert_file(path, add_isolated_atoms=True).read([r.key for r in part])

    # Formation energies of these random data are as large as total ones.
    np.testing.assert_allclose(found.values["energy"], [r.energy for r in part], rtol=1e-6)


def test_batches_are_joined(tmp_path, monkeypatch, convert_file, part, xyz):
    for module in ("npz", "extxyz"):
        monkeypatch.setattr(f"nabladft.predictions.foreign.{module}.BATCH", 4)

    check(convert_file(write_npz(tmp_path / "p.npz", part)), part)
    check(convert_file(xyz()), part, forces_tolerance=1e-9)


def test_extended_xyz_is_in_the_units_of_ase(convert_file, part, xyz):
    predictions = convert_file(xyz())

    # ASE writes eight decimals of forces.
    check(predictions, part, forces_tolerance=1e-9)
    assert predictions.info.details["converted_from"]["energy_unit"] == "eV"


def test_extended_xyz_may_declare_other_units(convert_file, part, xyz):
    def in_hartree(frames):
        for atoms, record in zip(frames, part, strict=True):
            atoms.calc.results |= {"energy": record.energy, "forces": record.forces}
            atoms.info["units"] = "energy:hartree forces:hartree/bohr"
        return frames

    check(convert_file(xyz(in_hartree)), part, forces_tolerance=1e-7)
    with pytest.raises(UnitError, match="declares its energy in hartree, not in eV"):
        convert_file(xyz(in_hartree), energy_unit="eV")


def without(key):
    return lambda arrays: arrays.pop(key)


def put(key, value):
    def how(arrays):
        arrays[key] = value(arrays) if callable(value) else value

    return how


def nan(arrays):
    arrays["energy"][2] = np.nan


def swapped(arrays):
    arrays["natoms"][[0, 1]] = arrays["natoms"][[1, 0]] + [1, -1]


def doubled(arrays):
    arrays["ids"][1] = arrays["ids"][2]


WRONG_ARRAYS = {
    "no ids": (without("ids"), "it needs either 'ids'"),
    "both": (put("molecule_id", np.arange(9)), "it needs either 'ids'"),
    "no energy": (without("energy"), "the entry 'energy' is missing"),
    "no natoms": (without("natoms"), "need 'natoms'"),
    "no unit": (without("energy_unit"), "the unit of its energy. Say it with --unit"),
    "forces unit": (
        put("energy_unit", np.array("hartree")),
        "the unit of its forces. Say it with --forces-unit",
    ),
    "unknown unit": (put("forces_unit", np.array("Ha")), "Unknown unit 'Ha'.*of the forces of"),
    "dimension": (put("forces_unit", np.array("eV")), "eV is a unit of energy and"),
    "typo": (put("force", np.zeros(3)), r"'force.npy', which is no entry .* mean 'forces'"),
    "fewer": (put("energy", np.zeros(3)), r"'energy' has shape \(3,\); this part needs \(9,\)"),
    "real ids": (put("ids", np.zeros(9)), "'ids' has type float64, text values"),
    "object ids": (put("ids", np.array(["1/0"] * 9, dtype=object)), "'ids' has type object"),
    "objects": (put("energy", np.array([{}] * 9, dtype=object)), "'energy' has type object"),
    "structured": (put("energy", np.zeros(9, [("a", "f8")])), "'energy' has type .*floating"),
    "wide texts": (put("ids", np.array(["1/0"] * 8 + ["1/0" + "0" * 50])), "'ids' has .* bytes"),
    "bad id": (put("ids", np.array(["1-0"] * 9)), r"ids\[0\] is '1-0'; 'molecule_id/conf"),
    "path as id": (put("ids", np.array(["../etc"] * 9)), r"ids\[0\] is '../etc'"),
    "other ids": (put("ids", np.array(["77/0"] * 9)), "molecule_id 77, .*does not belong to this"),
    "twice": (doubled, "predicted twice"),
    "atoms": (swapped, "molecule_id 4, conformation_id 0 has .* atoms, .* in data"),
    "no atoms": (put("natoms", np.zeros(9, int)), "'natoms' has a number below 1 or above 5"),
    "many atoms": (put("natoms", np.full(9, 10**6)), "'natoms' has a number below 1 or above 5"),
    "columns": (put("forces", lambda a: np.asfortranarray(a["forces"])), "stored by columns"),
    "float32": (put("energy", lambda a: a["energy"].astype("f4")), "rounds total energies"),
    "NaN": (nan, "energy holds 1 values that are not finite"),
    "elements": (
        lambda a: a.update(atomic_numbers=np.ones(int(a["natoms"].sum()), int)),
        "as atom 0 .counting from 0., .* in the data; keep the order",
    ),
}


@pytest.mark.parametrize("case", WRONG_ARRAYS, ids=str)
def test_a_wrong_npz_is_refused_and_nothing_is_written(convert_file, tmp_path, part, case):
    how, message = WRONG_ARRAYS[case]
    arrays = arrays_of(part)
    how(arrays)
    np.savez(tmp_path / "p.npz", **arrays)

    with pytest.raises(NablaDFTError) as caught:
        convert_file(tmp_path / "p.npz")

    text = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert re.search(message, text), text
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def header(text, version=(2, 0)):
    """An array file with any header."""
    return (
        np.lib.format.magic(*version)
        + struct.pack("<I" if version[0] > 1 else "<H", len(text))
        + text.encode()
    )


def many_entries(archive):
    for k in range(MOST_ENTRIES):
        archive.writestr(f"extra{k}.npy", b"")


def add(name, content, **options):
    def how(archive):
        archive.writestr(name, content, **options)

    return how


def comment(archive):
    archive.comment = b"x" * 100


#: What is added to an archive that lacks only its energies.
HOSTILE_ARCHIVES = {
    "many entries": (many_entries, "at most 16 in 16384 are read"),
    "parent folder": (add("../../energy.npy", b""), "'../../energy.npy', which is no entry"),
    "absolute path": (add("/etc/energy.npy", b""), "'/etc/energy.npy', which is no entry"),
    "no array": (add("energy", b""), "'energy', which is no entry"),
    "long name": (add("e" * 20_000, b""), "listed in .* bytes, at most"),
    "comment": (comment, "it does not end as an .npz file does"),
    "method": (
        add("energy.npy", npy(np.zeros(9)), compress_type=zipfile.ZIP_LZMA),
        "compressed by method 14",
    ),
    "bomb": (
        add("energy.npy", bytes(10 << 20), compress_type=zipfile.ZIP_DEFLATED),
        "'energy' has 10485760 bytes; for this part at most",
    ),
    "no header": (add("energy.npy", b"energy"), "it is no .npz file, or is damaged"),
    "empty": (add("energy.npy", b""), "it is no .npz file, or is damaged"),
    "version 3": (add("energy.npy", header("{}", (3, 0))), r"of version \(3, 0\)"),
    "long header": (add("energy.npy", header(" " * 4090)), "is damaged"),
    "deep header": (add("energy.npy", header("[" * 2000)), "is damaged"),
    "code": (add("energy.npy", header("__import__('os').abort()")), "is damaged"),
    "large type": (
        add(
            "energy.npy",
            header("{'descr': '|V2000000000', 'fortran_order': False, 'shape': (9,), }"),
        ),
        "'energy' has type .V2000000000",
    ),
    "negative": (
        add("energy.npy", header("{'descr': '<f8', 'fortran_order': False, 'shape': (-9,), }")),
        r"shape \(-9,\)",
    ),
    "short": (add("energy.npy", npy(np.zeros(9))[:-1]), "'energy' ends before it should"),
    "left over": (add("energy.npy", npy(np.zeros(9)) + b"x"), "'energy' has more values than"),
}


@pytest.mark.parametrize("case", HOSTILE_ARCHIVES, ids=str)
def test_a_hostile_archive_is_refused(convert_file, tmp_path, part, case):
    how, message = HOSTILE_ARCHIVES[case]
    path = write_npz(tmp_path / "p.npz", part, energy=None)
    with zipfile.ZipFile(path, "a") as archive:
        how(archive)

    with pytest.raises(PredictionsError, match=message):
        convert_file(path)


def test_an_entry_twice_is_refused(convert_file, tmp_path, part):
    path = write_npz(tmp_path / "p.npz", part)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("energy.npy", b"")

    with pytest.raises(PredictionsError, match="it holds 'energy' twice"):
        convert_file(path)


def test_a_changed_byte_is_noticed(convert_file, tmp_path, part):
    path = tmp_path / "p.npz"
    np.savez(path, **arrays_of(part))
    content = bytearray(path.read_bytes())
    content[content.index(arrays_of(part)["energy"].tobytes())] ^= 1
    path.write_bytes(content)

    with pytest.raises(PredictionsError, match=r"damaged: BadZipFile: .*CRC"):
        convert_file(path)


def test_an_encrypted_entry_and_zip64_are_refused(convert_file, tmp_path, part):
    path = write_npz(tmp_path / "p.npz", part)
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 8
    path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(PredictionsError, match="is encrypted"):
        convert_file(path)

    end = content.rindex(b"PK\x05\x06")
    path.write_bytes(content[:end] + b"PK\x06\x07".ljust(20, b"\0") + content[end:])
    with pytest.raises(PredictionsError, match="Zip64 archive"):
        convert_file(path)


def no_energy(frames):
    del frames[1].calc.results["energy"]
    return frames


def no_forces(frames):
    del frames[1].calc.results["forces"]
    return frames


def info(**values):
    def how(frames):
        frames[1].info |= values
        return frames

    return how


def moved(frames):
    frames[1].positions += 0.01
    return frames


def other_element(frames):
    frames[1].numbers[0] = 14
    return frames


def periodic(frames):
    frames[1].pbc = True
    return frames


def text(old, new):
    return lambda content: content.replace(old, new, 1)


def same(value):
    return value


COMMENT = "Properties="

WRONG_FRAMES = {
    "no energy": (no_energy, same, "frame 1 .counting from 0., has no energy"),
    "no forces": (no_forces, same, "frame 1 .*has forces, or has none, unlike the first"),
    "other units": (info(units="energy:hartree"), same, "frame 1 .*declares units"),
    "float id": (info(molecule_id=1.5), same, "frame 1 .*molecule_id is .*1.5.*an integer"),
    "id of words": (info(molecule_id="x y"), same, "molecule_id is 'x y'; an integer"),
    "logical id": (info(molecule_id=True), same, "molecule_id is True; an integer"),
    "other id": (info(molecule_id=77), same, "molecule_id 77.*does not belong to this part"),
    "moved": (moved, same, "has atom 0 .counting from 0. 0.01 angstrom from where it is"),
    "element": (other_element, same, "has Si as atom 0 .counting from 0."),
    "periodic": (periodic, same, "frame 1 .*is periodic"),
    "fewer": (lambda frames: frames[:-1], same, "has 8 of the 9 conformations of the part"),
    "more": (lambda frames: [*frames, frames[0]], same, "more frames than the 9 conformations"),
    "twice": (lambda frames: [frames[0], *frames[:-1]], same, "predicted twice"),
    "none": (lambda frames: frames[:1], lambda _: "\n", "holds no frames"),
    "count": (same, lambda content: "1e99" + content, "begins with b'1e99.*a number of atoms"),
    "million atoms": (
        same,
        lambda content: "1000000" + content[1:],
        "has 1000000 atoms; the molecules of this part have 1 to 5",
    ),
    "long count": (same, lambda content: "9" * 10**6, "begins with b'9999"),
    "long comment": (same, text(COMMENT, f"x={'y' * (1 << 16)} {COMMENT}"), "line of more than 65"),
    "long line": (same, text("0.0", "0." + "0" * 5000), "line of more than 4096 bytes"),
    "columns": (same, text(":forces:R:3", ":x:R:1000000000"), "more than 64 columns"),
    "hidden columns": (
        same,
        text(COMMENT, "Proper\\ties=species:S:1:pos:R:3:x:R:1000000000 ignored="),
        "more than 64 columns",
    ),
    "deep JSON": (same, text(COMMENT, f'x="_JSON {"[" * 60_000}" {COMMENT}'), "frame 0 .*Error"),
    "unfinished": (same, lambda content: content[: content.rindex("\n", 0, -2)], "ends after"),
}


@pytest.mark.parametrize("case", WRONG_FRAMES, ids=str)
def test_a_wrong_xyz_is_refused_and_nothing_is_written(convert_file, tmp_path, xyz, case):
    frames, content, message = WRONG_FRAMES[case]
    path = xyz(frames, content)

    with pytest.raises(PredictionsError, match=message):
        convert_file(path)

    assert [p.name for p in tmp_path.iterdir()] == ["p.xyz"]


def test_text_that_is_not_utf8_is_refused(convert_file, xyz):
    path = xyz()
    path.write_bytes(path.read_bytes().replace(b"Properties=", b"\xff\xfe Properties=", 1))

    with pytest.raises(PredictionsError, match="is not text in UTF-8"):
        convert_file(path)


def test_pickles_and_other_files_are_not_read(convert_file, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "p.npz").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FormatError, match="is a pickle, which runs code when it is read"):
        convert_file(tmp_path / "p.npz")
    assert not (tmp_path / "ran").exists()

    (tmp_path / "p.csv").write_text("1,2")
    with pytest.raises(FormatError, match=r"neither an \.npz file nor, by its name, extended xyz"):
        convert_file(tmp_path / "p.csv")
    with pytest.raises(InputError, match="There is no file"):
        convert_file(tmp_path / "nothing.npz")


def test_hdf5_need_not_be_converted(convert_file, tmp_path, part):
    path = convert_file(write_npz(tmp_path / "p.npz", part)).path.rename(tmp_path / "there.h5")

    with pytest.raises(FormatError, match="is HDF5 already"):
        convert_file(path)
