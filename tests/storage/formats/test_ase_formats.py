import ase
import ase.db
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from nabladft.chemistry.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from nabladft.errors import FormatError, MissingFieldError
from nabladft.storage.formats import ase_formats
from nabladft.storage.formats.ase_formats import AseSource
from tests.storage.published_files import execute


def water(*, labels=True, **info):
    atoms = ase.Atoms("OH2", positions=[[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    if labels:
        forces = np.arange(9.0).reshape(3, 3)
        atoms.calc = SinglePointCalculator(atoms, energy=-2000.0, forces=forces)
    atoms.info.update(info)
    return atoms


def xyz_file(path, frames):
    ase.io.write(path, frames, format="extxyz")
    return AseSource(path, format="extxyz")


def db_file(path, frames):
    with ase.db.connect(path, type="db") as database:
        for atoms in frames:
            database.write(atoms, **atoms.info)
    return AseSource(path, format="db")


@pytest.mark.parametrize("write", [xyz_file, db_file])
def test_geometries_and_labels_become_atomic_units(tmp_path, write):
    source = write(tmp_path / "file", [water(), water()])

    record = source[1]

    assert source.info.fields == ("energy", "forces")
    np.testing.assert_allclose(record.positions[1, 1], 0.76 / BOHR_IN_ANGSTROM, rtol=1e-7)
    assert record.energy == pytest.approx(-2000.0 / HARTREE_IN_EV, rel=1e-12)
    assert record.forces[2, 2] == pytest.approx(8.0 * BOHR_IN_ANGSTROM / HARTREE_IN_EV, rel=1e-7)
    assert source.keys.tolist() == [[0, 0], [1, 0]]
    assert (record.geometry_origin, record.smiles) == ("input", None)


@pytest.mark.parametrize("write", [xyz_file, db_file])
def test_ids_and_smiles_of_the_file_are_kept(tmp_path, write):
    frames = [
        water(molecule_id=7, conformation_id=2, smiles="O"),
        water(molecule_id=7, smiles="O"),
        water(moses_id=9),
    ]

    source = write(tmp_path / "file", frames)

    assert source.keys.tolist() == [[7, 2], [7, 1], [9, 0]]
    assert [record.smiles for record in source] == ["O", "O", None]


def test_order_and_duplicates_are_kept(tmp_path):
    source = xyz_file(tmp_path / "file.xyz", [water(molecule_id=k) for k in (5, 6, 7)])

    assert [record.molecule_id for record in source.read([2, 0, 0, -1])] == [7, 5, 5, 7]
    assert source.read_flat([2, 0]).molecule_id.tolist() == [7, 5]


def test_label_that_one_frame_lacks_is_not_held(tmp_path):
    source = xyz_file(tmp_path / "file.xyz", [water(), water(labels=False)])

    assert source.info.fields == ()
    assert source[0].energy is None
    with pytest.raises(MissingFieldError, match="does not hold 'energy'"):
        source.read([0], fields=["energy"])


def test_plain_xyz_is_read(tmp_path):
    path = tmp_path / "plain.xyz"
    path.write_text("2\na comment\nH 0 0 0\nH 0 0 0.74\n")

    assert AseSource(path, format="extxyz")[0].formula == "H2"


def test_same_frames_have_the_same_hash(tmp_path):
    one = xyz_file(tmp_path / "a.xyz", [water(molecule_id=1), water(molecule_id=2)])
    other = db_file(tmp_path / "b.db", [water(molecule_id=2), water(molecule_id=1)])

    assert one.data_hash == other.data_hash


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        (water(charge=1), "frame 1 .*is charged; only neutral"),
        (ase.Atoms("H", cell=[5, 5, 5], pbc=True), "frame 1 .*is periodic; only molecules"),
        (water(molecule_id="seven"), "frame 1 .*has molecule_id = 'seven', an integer"),
        (water(molecule_id=0, conformation_id=0), "frame 1 .*as an earlier frame has"),
        (ase.Atoms("XH", positions=np.eye(3)[:2]), "frame 1 .*atomic_numbers must be 1"),
    ],
)
def test_frame_that_cannot_be_used_is_named(tmp_path, frame, match):
    source = xyz_file(tmp_path / "file.xyz", [water(), frame])

    with pytest.raises(FormatError, match=rf"file\.xyz, {match}"):
        len(source)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("2\n\nH 0 0 0\nH 0 0 0.74\n3\n\nH 0 0 0\n", "frame 1 .*cannot be read as extxyz"),
        ("1\n\nH 0 0 nan\n", "frame 0 .*positions holds 1 values that are not finite"),
        ("1\n\nQq 0 0 0\n", "frame 0 .*cannot be read as extxyz"),
    ],
)
def test_broken_text_is_refused_with_its_frame(tmp_path, text, match):
    path = tmp_path / "broken.xyz"
    path.write_text(text)

    with pytest.raises(FormatError, match=rf"broken\.xyz, {match}"):
        len(AseSource(path, format="extxyz"))


@pytest.mark.parametrize("write", [xyz_file, db_file])
def test_large_file_is_read_frame_by_frame(tmp_path, write, monkeypatch):
    frames = [water(molecule_id=9 - k, smiles="O" * (k + 1)) for k in range(6)]
    small = write(tmp_path / "small", frames)
    whole = list(small)
    monkeypatch.setattr(ase_formats, "_KEPT", 3)
    source = AseSource(small.path, format=small.format)

    assert source._index.kept == []
    assert source.keys.tolist() == [[9 - k, 0] for k in range(6)]
    assert source.n_atoms.tolist() == [3] * 6
    assert source.data_hash == small.data_hash
    for record, row in zip(source.read([4, 0, 0, -1]), (4, 0, 0, 5), strict=True):
        assert record.key == whole[row].key
        assert record.smiles == whole[row].smiles
        assert record.energy == whole[row].energy
        np.testing.assert_array_equal(record.forces, whole[row].forces)


@pytest.mark.parametrize("write", [xyz_file, db_file])
def test_file_that_changes_while_it_is_read_is_refused(tmp_path, write, monkeypatch):
    monkeypatch.setattr(ase_formats, "_KEPT", 0)
    source = write(tmp_path / "file", [water(), water(), water()])
    assert len(source) == 3
    if source.format == "db":
        execute(source.path, "DELETE FROM systems WHERE id = 3")
    else:
        whole = source.path.read_bytes()
        source.path.write_bytes(whole[: len(whole) - 30])

    with pytest.raises(FormatError, match=r"frame 2 .*cannot be read as"):
        source.read([0, 2])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("2\n\nH 0 0 0\nH 0 0 0.74\nthree\n\n", "frame 1 .*cannot be read as extxyz: ValueError"),
        ("", "holds no geometries"),
    ],
)
def test_text_that_is_no_xyz_is_refused(tmp_path, text, match):
    path = tmp_path / "broken.xyz"
    path.write_text(text)

    with pytest.raises(FormatError, match=match):
        len(AseSource(path, format="extxyz"))


def test_blank_lines_between_frames_are_passed_over(tmp_path):
    path = tmp_path / "x.xyz"
    path.write_text("1\n\nH 0 0 0\n\n1\n\nHe 0 0 0\n\n\n")

    assert [record.formula for record in AseSource(path, format="extxyz")] == ["H", "He"]
