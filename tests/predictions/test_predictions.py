import dataclasses
import shutil

import h5py
import numpy as np
import pytest

from nabladft.chemistry.packing import pack_lower
from nabladft.errors import (
    FormatError,
    InputError,
    NablaDFTError,
    OrbitalCountError,
    PredictionsError,
    UnitError,
    UnknownNameError,
)
from nabladft.predictions import Predictions, PredictionsInfo, PredictionsWriter
from tests.conftest import MemorySource
from tests.scoring_data import info_for, random_records, split_of, write_predictions


@pytest.fixture(scope="module")
def records():
    return random_records()


@pytest.fixture(scope="module")
def source(records):
    return MemorySource(records)


@pytest.fixture(scope="module")
def original(tmp_path_factory, records, source):
    folder = tmp_path_factory.mktemp("original")
    return write_predictions(folder / "predictions.h5", records, info_for(source), batch=8)


@pytest.fixture
def path(tmp_path, original):
    """A valid file with everything in it; tests break it."""
    return shutil.copy(original, tmp_path / original.name)


def test_what_is_written_is_read_in_the_order_asked_for(path, records):
    predictions = Predictions(path)
    order = [20, 3, 4, 5, 0, 20]

    found = predictions.read([records[k].key for k in order])

    for place, k in enumerate(order):
        atoms = slice(found.atom_offsets[place], found.atom_offsets[place + 1])
        values = slice(found.hamiltonian_offsets[place], found.hamiltonian_offsets[place + 1])
        assert found.values["energy"][place] == records[k].energy
        np.testing.assert_array_equal(found.values["forces"][atoms], records[k].forces)
        np.testing.assert_array_equal(found.atomic_numbers[atoms], records[k].atomic_numbers)
        np.testing.assert_array_equal(
            found.values["hamiltonian"][values], pack_lower(records[k].hamiltonian)
        )


def test_an_overlap_is_a_matrix_of_its_own(path, tmp_path, records):
    triangles = {r.key: pack_lower(np.eye(len(r.hamiltonian)) + 0.1) for r in records}
    with h5py.File(path) as old, h5py.File(tmp_path / "both.h5", "w") as file:
        for name in old:
            old.copy(name, file)
        file.attrs.update(old.attrs)
        file["overlap_offsets"] = old["hamiltonian_offsets"][()]
        keys = zip(old["molecule_id"][()], old["conformation_id"][()], strict=True)
        file["overlap"] = np.concatenate([triangles[int(m), int(c)] for m, c in keys])
        file["overlap"].attrs.update(dict(old["hamiltonian"].attrs) | {"unit": "1"})
    predictions = Predictions(tmp_path / "both.h5")

    found = predictions.read([records[7].key, records[2].key])

    assert predictions.fields == ("energy", "forces", "hamiltonian", "overlap")
    for place, record in enumerate((records[7], records[2])):
        values = slice(found.overlap_offsets[place], found.overlap_offsets[place + 1])
        np.testing.assert_array_equal(found.values["overlap"][values], triangles[record.key])
    with h5py.File(tmp_path / "both.h5", "a") as file:
        file["overlap"].attrs["orbital_order"] = "psi4"
    with pytest.raises(PredictionsError, match="differ in 'orbital_order': 'ascending' and 'psi4'"):
        Predictions(tmp_path / "both.h5")


def test_the_size_of_batches_does_not_change_the_file(tmp_path, records, source, path):
    other = write_predictions(tmp_path / "other.h5", records, info_for(source), batch=7)

    one, two = (Predictions(p).read(source.keys) for p in (path, other))

    for name in one.values:
        np.testing.assert_array_equal(one.values[name], two.values[name])
    np.testing.assert_array_equal(one.hamiltonian_offsets, two.hamiltonian_offsets)


def test_batches_cover_the_keys_in_their_order(path, source):
    keys = source.keys[::-1]

    pieces = list(Predictions(path).batches(keys, fields=["energy"], size=5))

    assert len(pieces) == 5
    np.testing.assert_array_equal(np.concatenate([piece.keys for piece in pieces]), keys)


def test_attributes_survive(tmp_path, records, source):
    split = split_of(source)
    info = info_for(source, split, "test_structures", details={"seed": 3, "run": "abc"})

    write_predictions(tmp_path / "p.h5", records, info)

    assert Predictions(tmp_path / "p.h5").info == info


def test_an_energy_file_needs_no_atoms(tmp_path):
    info = PredictionsInfo(dataset="d", data_hash="0", model="m")

    with PredictionsWriter(tmp_path / "p.h5", info) as writer:
        writer.append(keys=[(1, 0)], energy=[-76.123456789012345])

    predictions = Predictions(tmp_path / "p.h5")
    assert predictions.read([(1, 0)]).values["energy"][0] == -76.123456789012345
    assert predictions.n_atoms is None


def test_single_precision_forces_are_kept_as_they_are(tmp_path):
    info = PredictionsInfo(dataset="d", data_hash="0", model="m")
    forces = np.array([[0.1, 0.2, 0.3]], dtype=np.float32)

    with PredictionsWriter(tmp_path / "p.h5", info) as writer:
        writer.append(
            keys=[(1, 0)], n_atoms=[1], atomic_numbers=[1], forces=forces, energy=np.float32([1])
        )

    with h5py.File(tmp_path / "p.h5") as file:
        assert file["forces"].dtype == np.float32
        assert file["energy"].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("energy", "kcal/mol", 627.5094740631),
        ("energy", "millihartree", 1e3),
        ("forces", "hartree/angstrom", 1 / 0.529177210903),
        ("hamiltonian", "eV", 27.211386245988),
    ],
)
def test_other_units_are_converted(path, records, name, unit, factor):
    with h5py.File(path, "a") as file:
        values = file[name][()]
        file[name].attrs["unit"] = unit
        file[name][...] = values * factor

    found = Predictions(path).read([r.key for r in records]).values[name]

    np.testing.assert_allclose(found, values, rtol=1e-8)


def test_a_failed_write_leaves_the_old_file_and_no_other(path, records, source):
    before = path.read_bytes()

    with pytest.raises(PredictionsError, match="twice"):
        write_predictions(path, [records[0], records[0]], info_for(source), batch=1)

    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def remove(name):
    def change(file):
        del file[name]

    return change


def replace(name, values, **options):
    def change(file):
        attributes = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        file.create_dataset(name, data=values, **options)
        file[name].attrs.update(attributes)

    return change


def set_value(name, index, value):
    def change(file):
        file[name][index] = value

    return change


def set_attribute(name, key, value):
    def change(file):
        file[name].attrs[key] = value

    return change


def remove_attribute(name, key):
    def change(file):
        del file[name].attrs[key]

    return change


def external_link(file):
    del file["energy"]
    file["energy"] = h5py.ExternalLink("other.h5", "energy")


def soft_link(file):
    file.move("energy", "hidden")
    file["energy"] = h5py.SoftLink("/hidden")


def external_storage(file):
    del file["energy"]
    file.create_dataset("energy", (24,), "f8", external=[("/etc/hostname", 0, 192)])


def virtual_dataset(file):
    del file["energy"]
    layout = h5py.VirtualLayout((24,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "energy", (24,))
    file.create_virtual_dataset("energy", layout)


def texts(file):
    del file["energy"]
    file.create_dataset("energy", data=["x"] * 24, dtype=h5py.string_dtype())


def huge(file):
    del file["energy"]
    file.create_dataset("energy", (10**12,), "f8", chunks=(1 << 16,))
    file["energy"].attrs["unit"] = "hartree"


BROKEN = {
    "other format": (
        set_attribute("/", "format", "nabladft-run"),
        FormatError,
        "not a predictions",
    ),
    "no format": (remove_attribute("/", "format"), FormatError, "not a predictions file"),
    "future version": (set_attribute("/", "format_version", 2), FormatError, "version 2"),
    "no data hash": (
        remove_attribute("/", "data_hash"),
        PredictionsError,
        "'data_hash' is missing",
    ),
    "number for a name": (set_attribute("/", "model", 3), PredictionsError, "a text is expected"),
    "details": (set_attribute("/", "details", "{"), PredictionsError, "not JSON"),
    "details list": (set_attribute("/", "details", "[]"), PredictionsError, "not a JSON object"),
    "no unit": (remove_attribute("energy", "unit"), UnitError, "'energy' has no attribute 'unit'"),
    "unknown unit": (set_attribute("energy", "unit", "Ha"), UnitError, "Unknown unit 'Ha'"),
    "unit of forces": (set_attribute("energy", "unit", "hartree/bohr"), UnitError, "no conversion"),
    "no ids": (remove("molecule_id"), PredictionsError, "array 'molecule_id' is missing"),
    "no atoms": (remove("atom_offsets"), PredictionsError, "'atom_offsets' is missing"),
    "no offsets": (
        remove("hamiltonian_offsets"),
        PredictionsError,
        "'hamiltonian_offsets' is miss",
    ),
    "twice": (set_value("conformation_id", 1, 0), PredictionsError, "comes twice, in rows 0 and 1"),
    "short ids": (replace("molecule_id", np.arange(3)), PredictionsError, "3 entries"),
    "short energy": (replace("energy", np.zeros(3)), PredictionsError, "length 3, 24 expected"),
    "short forces": (replace("forces", np.zeros((3, 3))), PredictionsError, "length 3, 69 expect"),
    "flat forces": (replace("forces", np.zeros(198)), PredictionsError, "sum n_atoms, 3"),
    "two axes": (replace("energy", np.zeros((24, 1))), PredictionsError, "one axis expected"),
    "offsets": (set_value("atom_offsets", 1, 0), PredictionsError, "start at 0 and increase"),
    "count of offsets": (replace("atom_offsets", np.arange(4)), PredictionsError, "25 expected"),
    "real ids": (replace("molecule_id", np.zeros(24)), PredictionsError, "integers expected"),
    "float32": (replace("energy", np.zeros(24, "f4")), PredictionsError, "write float64"),
    "complex": (replace("energy", np.zeros(24, "c16")), PredictionsError, "floating-point"),
    "texts": (texts, PredictionsError, "floating-point numbers expected"),
    "formation": (replace("formation_energy", np.zeros(24)), PredictionsError, "isolated_atoms"),
    "typo": (replace("force", np.zeros(24)), PredictionsError, "Did you mean 'forces'"),
    "group": (lambda file: file.create_group("dipole"), PredictionsError, "does not know"),
    "external link": (external_link, PredictionsError, "links are not followed"),
    "soft link": (soft_link, PredictionsError, "links are not followed"),
    "external storage": (external_storage, PredictionsError, "in another file"),
    "virtual": (virtual_dataset, PredictionsError, "in another file"),
    "huge": (huge, PredictionsError, "more than the file can hold"),
    "basis": (
        set_attribute("hamiltonian", "basis_set", "sto"),
        UnknownNameError,
        "basis set 'sto'",
    ),
    "no order": (
        remove_attribute("hamiltonian", "orbital_order"),
        PredictionsError,
        "'orbital_order' of 'hamiltonian' is missing",
    ),
}


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_opening_refuses(path, case):
    change, error, message = BROKEN[case]
    with h5py.File(path, "a") as file:
        change(file)

    with pytest.raises(NablaDFTError, match=message) as caught:
        Predictions(path)
    assert caught.type is error


def test_a_file_that_predicts_nothing_is_refused(path):
    with h5py.File(path, "a") as file:
        for name in ("energy", "forces", "hamiltonian", "hamiltonian_offsets"):
            del file[name]

    with pytest.raises(PredictionsError, match="predicts nothing"):
        Predictions(path)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no predictions file .*nothing.h5"):
        Predictions(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("not hdf5")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        Predictions(tmp_path / "text.h5")


@pytest.mark.parametrize(("name", "index"), [("energy", 4), ("forces", 12), ("hamiltonian", 1500)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_reading_refuses_values_that_are_not_finite_and_names_the_first(
    path, records, name, index, value
):
    with h5py.File(path, "a") as file:
        file[name][index] = value
        owner = {"energy": 4, "forces": 3, "hamiltonian": 4}[name]
        ends = {"forces": "atom_offsets", "hamiltonian": "hamiltonian_offsets"}.get(name)
        if ends:
            owner = int(np.searchsorted(file[ends][()], index, side="right")) - 1
    key = records[owner].key

    with pytest.raises(
        PredictionsError, match=f"{name} holds .*molecule_id {key[0]}, conformation_id {key[1]}"
    ):
        Predictions(path).read([r.key for r in records])


def test_a_hamiltonian_of_another_size_is_refused(path, records):
    with h5py.File(path, "a") as file:
        file["hamiltonian_offsets"][1] += 1

    with pytest.raises(OrbitalCountError, match="molecule_id 1, conformation_id 0 has 301 values"):
        Predictions(path).read([records[0].key])


def test_missing_and_extra_conformations_are_counted_and_named(path, source):
    predictions = Predictions(path)

    with pytest.raises(PredictionsError, match=r"1 of the 25 .* missing; .* molecule_id 9, conf"):
        predictions.check_keys([*map(tuple, source.keys), (9, 0)], what="part 'x'")
    with pytest.raises(PredictionsError, match=r"1 of 24 .* do not belong.*molecule_id 8, .*_id 2"):
        predictions.check_keys(source.keys[:-1], what="part 'x'")
    predictions.check_keys(source.keys[::-1], what="all")


def test_asking_for_what_is_not_there_is_refused(path):
    predictions = Predictions(path)

    with pytest.raises(PredictionsError, match="no prediction for 99/0"):
        predictions.read([(99, 0)])
    with pytest.raises(PredictionsError, match=r"holds no 'dipole'\. It holds: energy"):
        predictions.read([(1, 0)], fields=["dipole"])


def test_every_root_attribute_is_an_attribute_of_the_info(path):
    with h5py.File(path) as file:
        written = set(file.attrs)

    declared = {field.name for field in dataclasses.fields(PredictionsInfo)}
    assert written - {"format", "format_version"} <= declared
