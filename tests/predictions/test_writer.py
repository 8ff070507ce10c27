"""Writing predictions: what is refused, and what is never left behind."""

import dataclasses
import re

import numpy as np
import pytest

import nabladft
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.packing import pack_lower
from nabladft.errors import (
    HamiltonianError,
    OrbitalCountError,
    OrbitalOrderError,
    PredictionsError,
    UnitError,
    UnknownNameError,
)
from nabladft.predictions import Predictions, PredictionsInfo, PredictionsWriter
from tests.conftest import MemorySource
from tests.scoring_data import info_for


def test_the_file_appears_only_when_it_is_complete(tmp_path):
    writer = PredictionsWriter(
        tmp_path / "p.h5", PredictionsInfo(dataset="d", data_hash="0", model="m")
    )
    writer.append(keys=[(1, 0)], energy=[1.0])
    existed = (tmp_path / "p.h5").exists()
    writer.close()

    assert not existed
    assert [p.name for p in tmp_path.iterdir()] == ["p.h5"]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"energy": [1.0, 2.0]}, r"energy must have shape \(1,\), got \(2,\)"),
        ({"energy": [np.nan]}, "not finite.*molecule_id 1, conformation_id 0"),
        ({}, "at least one of energy"),
        ({"forces": np.zeros((1, 3))}, "need atomic_numbers"),
        (
            {"forces": np.zeros((1, 3)), "atomic_numbers": [1, 1], "n_atoms": [1]},
            r"atomic_numbers must have shape \(1,\), got \(2,\)",
        ),
        ({"energy": [1.0], "atomic_numbers": [1]}, "n_atoms is needed"),
        ({"energy": [1.0], "atomic_numbers": [1], "n_atoms": [0]}, "positive integers"),
        (
            {"hamiltonian": [1.0], "atomic_numbers": [1], "n_atoms": [1], "n_orbitals": [1]},
            "needs orbital_order and basis_set",
        ),
    ],
)
def test_the_writer_refuses(tmp_path, batch, message):
    info = PredictionsInfo(dataset="d", data_hash="0", model="m")

    with (
        pytest.raises(PredictionsError, match=message),
        PredictionsWriter(tmp_path / "p.h5", info) as writer,
    ):
        writer.append(keys=[(1, 0)], **batch)

    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_batches_of_other_quantities_and_empty_files(tmp_path):
    info = PredictionsInfo(dataset="d", data_hash="0", model="m")
    atoms = {"atomic_numbers": [1], "n_atoms": [1]}

    writer = PredictionsWriter(tmp_path / "p.h5", info)
    writer.append(keys=[(1, 0)], energy=[1.0], **atoms)
    with pytest.raises(PredictionsError, match="same quantities"):
        writer.append(keys=[(1, 1)], energy=[1.0], forces=np.zeros((1, 3)), **atoms)
    writer.discard()
    with (
        pytest.raises(PredictionsError, match="no predictions to write"),
        PredictionsWriter(tmp_path / "p.h5", info),
    ):
        pass


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ({"model": "two\nlines"}, PredictionsError, "'model' is .*printable"),
        ({"model": "m" * 301}, PredictionsError, "'model' is .*at most"),
        ({"part": "\x1b[31m"}, PredictionsError, "'part' is .*printable"),
        ({"details": {"notes": "n" * (1 << 20)}}, PredictionsError, "'details' has 1048"),
        ({"basis_set": "def3-svp"}, UnknownNameError, "def3-svp"),
    ],
    ids=["two lines", "long", "escape", "details", "basis set"],
)
def test_what_could_not_be_read_is_refused_before_anything_is_predicted(
    tmp_path, texts, error, message
):
    info = PredictionsInfo(**{"dataset": "d", "data_hash": "0", "model": "m"} | texts)

    with pytest.raises(error, match=message):
        PredictionsWriter(tmp_path / "p.h5", info)

    assert list(tmp_path.iterdir()) == []


def test_what_is_added_later_is_looked_at_too(tmp_path):
    info = PredictionsInfo(dataset="d", data_hash="0", model="m")

    writer = PredictionsWriter(tmp_path / "p.h5", info)
    writer.append(keys=[(1, 0)], energy=[1.0])
    writer.info = dataclasses.replace(info, model="two\nlines")
    with pytest.raises(PredictionsError, match="'model' is"):
        writer.close()

    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def real():
    """A few real Hamiltonians; what is random cannot be recognised."""
    return nabladft.open("nano").read(range(0, 300, 60))


@pytest.fixture
def write_whole(tmp_path, real):
    """Write whole matrices, by default the true ones, and give the file."""

    def write(change=lambda record: record.hamiltonian, **more):
        info = info_for(MemorySource(real))
        given = {
            "keys": [r.key for r in real],
            "molecules": [r.atomic_numbers for r in real],
            "geometries": [r.positions for r in real],
            "hamiltonians": [change(r) for r in real],
        }
        with PredictionsWriter(tmp_path / "whole.h5", info) as writer:
            writer.append_hamiltonians(**given | more)
        return Predictions(tmp_path / "whole.h5")

    return write


def test_whole_hamiltonians_are_packed(write_whole, real):
    energy = np.array([r.energy for r in real])

    found = write_whole(energy=energy).read([r.key for r in real])

    np.testing.assert_array_equal(found.values["energy"], energy)
    np.testing.assert_array_equal(
        found.values["hamiltonian"], np.concatenate([pack_lower(r.hamiltonian) for r in real])
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda r: 27.2114 * r.hamiltonian, UnitError, "looks like eV.*conformation"),
        (lambda r: np.tril(r.hamiltonian), HamiltonianError, "Only its lower triangle is filled"),
        (lambda r: r.hamiltonian[:-1, :-1], OrbitalCountError, "belongs to another basis set"),
        (lambda r: np.nan * r.hamiltonian, HamiltonianError, "not finite"),
        (
            lambda r: reorder_orbitals(
                r.hamiltonian, r.atomic_numbers, source="ascending", target="psi4"
            ),
            OrbitalOrderError,
            "look like psi4 or orca",
        ),
    ],
    ids=["eV", "triangle", "size", "NaN", "order"],
)
def test_mistaken_hamiltonians_are_named_and_no_file_is_left(
    write_whole, tmp_path, change, error, message
):
    with pytest.raises(error) as caught:
        write_whole(change)

    text = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert re.search(message, text)
    assert list(tmp_path.iterdir()) == []


def test_lists_of_different_lengths_are_refused(write_whole):
    with pytest.raises(PredictionsError, match="same conformations, got 5, 5, 5 and 0"):
        write_whole(hamiltonians=[])
