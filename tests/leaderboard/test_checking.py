"""What has a name is refused before scoring, the rest passes."""

import re

import numpy as np
import pytest

from nabladft.benchmark.matrix_scores import Orbitals
from nabladft.benchmark.tasks import task_named
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import (
    HamiltonianError,
    OrbitalOrderError,
    PredictionsError,
    UnitError,
)
from nabladft.leaderboard.checking import check_predictions
from nabladft.leaderboard.orbital_checks import OrbitalChecks
from nabladft.predictions import Predictions

PART = "test_structures"


@pytest.fixture
def check(source, split):
    def run(path, task="energy"):
        return check_predictions(
            Predictions(path), source, task=task_named(task), split=split, part=None
        )

    return run


def test_fair_predictions_pass_and_say_what_was_checked(write, check):
    found = check(write(PART))

    assert (found.part, found.n_conformations, found.warnings) == (PART, 3, ())
    assert "all 3 conformations, each once" in found.passed[0]
    assert any("total energies" in line for line in found.passed)


def test_fair_hamiltonians_pass_with_their_electrons_counted(write, check):
    found = check(write(PART, fields=("hamiltonian",)), task="hamiltonian")

    electrons = next(line for line in found.passed if "electrons" in line)
    assert float(re.search(r"within (\S+)", electrons)[1]) < 1e-9
    assert "3 closed shells" in electrons


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda r: r.replace(energy=27.2114 * r.energy),
            UnitError,
            "'energy' look like energies in eV, stored as hartree",
        ),
        (
            lambda r: r.replace(energy=r.energy - isolated_atoms_energy(r.atomic_numbers)),
            PredictionsError,
            "'energy' look like formation energies, where total energies are expected",
        ),
        (
            lambda r: r.replace(forces=-r.forces),
            PredictionsError,
            r"'forces' look like gradients \(minus the forces\)",
        ),
        (
            lambda r: r.replace(forces=51.4221 * r.forces),
            UnitError,
            "'forces' look like forces in eV/angstrom, stored as hartree/bohr",
        ),
    ],
)
def test_a_mistake_with_a_name_is_refused_by_it(write, check, change, error, message):
    with pytest.raises(error, match=message) as caught:
        check(write(PART, change=change))

    assert "predictions-test_structures-1.h5" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (lambda r: 27.2114 * r.hamiltonian, UnitError, "looks like eV"),
        (
            lambda r: reorder_orbitals(
                r.hamiltonian, r.atomic_numbers, source="ascending", target="psi4"
            ),
            OrbitalOrderError,
            "psi4",
        ),
        (
            lambda r: core_hamiltonian_matrix(r.atomic_numbers, r.positions),
            HamiltonianError,
            "core Hamiltonians, without the electrons",
        ),
        (
            lambda r: overlap_matrix(r.atomic_numbers, r.positions),
            HamiltonianError,
            "overlap matrices",
        ),
    ],
)
def test_a_wrong_hamiltonian_is_refused_by_its_name(write, check, matrix, error, message):
    path = write(PART, change=lambda r: r.replace(hamiltonian=matrix(r)), fields=("hamiltonian",))

    with pytest.raises(error, match=message):
        check(path, task="hamiltonian")


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.replace(energy=-1.0),
        lambda r: r.replace(energy=isolated_atoms_energy(r.atomic_numbers)),
        lambda r: r.replace(forces=0 * r.forces),
        lambda r: r.replace(forces=0.1 + 0 * r.forces),
        lambda r: r.replace(
            forces=0.5 * r.forces + 0.02 * np.sin(np.arange(r.forces.size)).reshape(-1, 3)
        ),
    ],
)
def test_a_bad_prediction_passes(write, check, change):
    assert check(write(PART, change=change)).n_conformations == 3


def test_what_looks_strange_is_a_warning(write, check):
    path = write(
        PART,
        change=lambda r: r.replace(energy=float(np.float32(r.energy)), forces=r.forces + 0.01),
    )

    found = check(path)

    assert any("every energy is a float32 number" in line for line in found.warnings)
    assert any("do not add up to zero" in line for line in found.warnings)


def test_hamiltonians_that_bind_nothing_are_a_warning(write, check):
    def shifted(record):
        overlap = overlap_matrix(record.atomic_numbers, record.positions)
        return record.replace(hamiltonian=record.hamiltonian + 0.6 * overlap)

    found = check(write(PART, change=shifted, fields=("hamiltonian",)), task="hamiltonian")

    assert "in 3 of 3 conformations the highest occupied orbital is above zero" in found.warnings[0]


def test_a_file_for_another_task_is_refused(write, check):
    both = write(PART, fields=("energy", "forces", "hamiltonian"))

    with pytest.raises(PredictionsError, match="holds hamiltonian, which task 'energy' does not"):
        check(both)
    with pytest.raises(PredictionsError, match="task 'hamiltonian' needs hamiltonian"):
        check(write(PART), task="hamiltonian")


def test_a_file_of_another_part_lacks_conformations(write, check, split):
    import h5py

    path = write(PART)
    with h5py.File(path, "r+") as file:
        file.attrs["part"] = "test_scaffolds"

    with pytest.raises(PredictionsError, match="3 of the 3 conformations of part 'test_scaffolds'"):
        check(path)


def test_a_hamiltonian_whose_orbitals_cannot_be_found_is_refused():
    checks = OrbitalChecks(
        Orbitals(basis_set=DEF2_SVP, predicted_order="ascending", reference_order="ascending")
    )

    with pytest.raises(HamiltonianError, match="The orbitals of here cannot be found"):
        checks.count_electrons(np.eye(3), np.ones((3, 3)), 2, "here")
