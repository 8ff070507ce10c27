"""Staged labels: whole or absent."""

import numpy as np
import pytest

from nabladft.conformation import Conformation
from nabladft.errors import StoreError
from nabladft.labels.staging import FAILURES_NAME, Failure, Staging


def record(rng, key=(3, 1)):
    half = rng.standard_normal((10, 10))
    return Conformation(
        molecule_id=key[0],
        conformation_id=key[1],
        atomic_numbers=np.array([1, 1]),
        positions=rng.standard_normal((2, 3)),
        smiles="[H][H]",
        geometry_origin="thermal 300 K (UFF)",
        orbital_order="ascending",
        basis_set="def2-svp",
        energy=-1.1234567890123456,
        forces=rng.standard_normal((2, 3)),
        hamiltonian=half + half.T,
    )


def test_a_record_comes_back_to_the_last_bit(tmp_path, rng):
    staging = Staging(tmp_path / "new" / "store")
    written = record(rng)
    staging.write(written)
    again = staging.read((3, 1))

    assert staging.keys() == {(3, 1)}
    assert again.fields == written.fields
    for name in ("positions", "atomic_numbers", "forces", "hamiltonian"):
        np.testing.assert_array_equal(getattr(again, name), getattr(written, name))
    for name in ("key", "smiles", "geometry_origin", "orbital_order", "basis_set", "energy"):
        assert getattr(again, name) == getattr(written, name)


def test_half_written_and_foreign_files_are_not_labels(tmp_path, rng):
    staging = Staging(tmp_path)
    staging.write(record(rng))
    (staging.folder / ".4_0.npz.123.tmp").write_bytes(b"half")
    (staging.folder / "notes.txt").write_text("")

    assert staging.keys() == {(3, 1)}


def test_a_damaged_file_is_named(tmp_path, rng):
    staging = Staging(tmp_path)
    staging.write(record(rng))
    path = staging.folder / "3_1.npz"
    path.write_bytes(path.read_bytes()[:200])

    with pytest.raises(StoreError, match=r"3_1\.npz is damaged"):
        staging.read((3, 1))


def test_discarded_records_are_gone(tmp_path, rng):
    staging = Staging(tmp_path)
    staging.write(record(rng, (1, 0)))
    staging.write(record(rng, (1, 1)))
    staging.discard({(1, 0), (8, 8)})

    assert staging.keys() == {(1, 1)}


def test_failures_come_back_and_an_empty_list_leaves_no_file(tmp_path):
    staging = Staging(tmp_path)
    failures = [Failure(3, 0, "C,C", "ConvergenceError", 'No field, "not" even\nafter 100.')]
    staging.write_failures(failures)

    assert staging.failures() == failures
    staging.write_failures([])
    assert staging.failures() == []
    assert not (tmp_path / FAILURES_NAME).exists()


def test_one_run_at_a_time(tmp_path):
    second = Staging(tmp_path).locked()
    with Staging(tmp_path).locked(), pytest.raises(StoreError, match="Another process"):
        second.__enter__()
    with Staging(tmp_path).locked():
        pass
