"""The embedded data sets: what their cards promise, and physics recomputed from their records."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import nabladft
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.electronic import (
    density_matrix,
    loewdin_charges,
    mulliken_charges,
    n_electrons,
    orbital_energies_and_coefficients,
)
from nabladft.chemistry.elements import DATASET_ELEMENTS, isolated_atoms_energy
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.scaffolds import scaffold_of
from nabladft.labels.backend import load_backend
from nabladft.labels.molecules import read_smiles
from nabladft.resources import embedded_datasets


@dataclass(frozen=True)
class Promise:
    """What was asked of a data set, all of it lower bounds but sizes."""

    n_bytes: float
    n_conformations: int
    n_molecules: int
    atoms: range
    molecules_with_an_element: int
    scaffolds: int
    chains: int


PROMISES = {
    "nano": Promise(20e6, 240, 40, range(5, 17), 7, 16, 30),
    "mini": Promise(30e6, 1200, 200, range(8, 21), 30, 36, 60),
}


@pytest.fixture(scope="module", params=sorted(PROMISES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def promise(name):
    return PROMISES[name]


@pytest.fixture(scope="module")
def store(name):
    return nabladft.open(name)


@pytest.fixture(scope="module")
def records(store):
    return list(store)


def test_all_of_them_are_looked_at():
    assert set(embedded_datasets()) == set(PROMISES)


def test_it_is_whole_and_small_enough(name, promise, store):
    store.verify()
    folder = embedded_datasets()[name]

    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert n_bytes < promise.n_bytes
    assert (folder / "README.md").is_file()
    assert store.info.details["licence"] == "CC0-1.0"
    assert store.info.method.lower() == "wb97x-d/def2-svp"
    assert {"energy", "forces", "hamiltonian", "dipole"} <= set(store.info.fields)


def test_counts_are_those_asked_for(promise, records):
    conformations = Counter(record.molecule_id for record in records)

    assert len(records) >= promise.n_conformations
    assert len(conformations) >= promise.n_molecules
    assert min(conformations.values()) >= 2
    assert {record.n_atoms for record in records} <= set(promise.atoms)


def test_molecules_are_those_of_the_list(name, store):
    listed = read_smiles(embedded_datasets()[name].parent / f"{name}.smi")

    assert store.smiles() == {molecule.molecule_id: molecule.smiles for molecule in listed}


def test_no_molecule_is_in_two_data_sets():
    molecules = [nabladft.open(name).smiles().values() for name in PROMISES]

    assert len({smiles for found in molecules for smiles in found}) == sum(map(len, molecules))


def test_every_element_is_in_enough_molecules_for_every_part_of_a_split(promise, records):
    molecules = defaultdict(set)
    for record in records:
        for number in record.atomic_numbers.tolist():
            molecules[number].add(record.molecule_id)

    assert set(molecules) == set(DATASET_ELEMENTS)
    assert min(len(found) for found in molecules.values()) >= promise.molecules_with_an_element


def test_scaffolds_and_chains(promise, store):
    scaffolds = Counter(scaffold_of(smiles) for smiles in store.smiles().values())
    n_chains = scaffolds.pop("")

    assert len(scaffolds) >= promise.scaffolds
    assert sum(n > 1 for n in scaffolds.values()) >= 8
    assert n_chains >= promise.chains


def test_every_geometry_says_how_it_was_made_and_none_is_there_twice(records):
    origins = Counter(record.geometry_origin for record in records)

    assert set(origins) == {"etkdg", "thermal 300 K (MMFF94)"}
    by_molecule = defaultdict(list)
    for record in records:
        squares = np.square(record.positions[:, None] - record.positions[None]).sum(-1)
        by_molecule[record.molecule_id].append(np.sqrt(squares))
    for distances in by_molecule.values():
        for index, one in enumerate(distances):
            for other in distances[:index]:
                assert np.abs(one - other).max() > 1e-3


def test_energies_are_those_of_bound_molecules_and_add_up(records):
    for record in records:
        atoms = isolated_atoms_energy(record.atomic_numbers)
        parts = (
            record.nuclear_repulsion_energy
            + record.one_electron_energy
            + record.two_electron_energy
            + record.xc_energy
            + record.dispersion_energy
        )

        assert record.energy == pytest.approx(parts, abs=1e-7)
        assert record.formation_energy == pytest.approx(record.energy - atoms, abs=1e-9)
        assert -0.25 < record.formation_energy / record.n_atoms < -0.05


def test_forces_nearly_add_up_to_zero(records):
    # The grid does not respond to moving atoms, so they add up to its noise.
    net = np.array([np.linalg.norm(record.forces.sum(axis=0)) for record in records])

    assert net.max() < 3e-2
    assert np.median(net) < 3e-3


def test_hamiltonian_gives_the_stored_orbital_energies_and_charges(records):
    # Any slip in orbital order, packing or compression would show here.
    for record in records[:: max(1, len(records) // 12)]:
        numbers, positions = record.atomic_numbers, record.positions
        S = overlap_matrix(numbers, positions, orbital_order=record.orbital_order)
        energies, coefficients = orbital_energies_and_coefficients(record.hamiltonian, S)
        # Rounding H to 1e-7 moves high empty orbitals more, where the overlap is nearly singular.
        np.testing.assert_allclose(energies, record.orbital_energies, atol=1e-3)
        occupied = slice(0, n_electrons(numbers) // 2)
        np.testing.assert_allclose(energies[occupied], record.orbital_energies[occupied], atol=2e-6)

        D = density_matrix(coefficients, n_electrons(numbers))
        mulliken = mulliken_charges(D, S, numbers)
        loewdin = loewdin_charges(D, S, numbers)
        np.testing.assert_allclose(mulliken, record.mulliken_charges, atol=1e-4)
        np.testing.assert_allclose(loewdin, record.loewdin_charges, atol=1e-4)
        assert record.hamiltonian.shape[0] == DEF2_SVP.n_orbitals(numbers)


@pytest.mark.slow
def test_labels_are_made_again_to_what_the_store_promises(records):
    # The smallest ones, and the smallest with bromine: about a minute.
    by_size = sorted(records, key=lambda record: len(record.orbital_energies))
    with_bromine = next(record for record in by_size if 35 in record.atomic_numbers)
    for record in [*by_size[:3], with_bromine]:
        result = load_backend("pyscf").label(record.atomic_numbers, record.positions)

        assert record.energy == pytest.approx(result.energy, abs=1e-8)
        np.testing.assert_allclose(record.forces, result.forces, atol=1e-6)
        np.testing.assert_allclose(record.dipole, result.extras["dipole"], atol=1e-5)


def test_the_card_tells_the_counts_of_the_store(name, store):
    for card in (
        embedded_datasets()[name] / "README.md",
        Path(__file__).resolve().parents[2] / "docs" / "datasets" / f"{name}.md",
    ):
        text = card.read_text(encoding="utf-8")

        assert f"| conformations | {len(store)} |" in text
        assert f"| molecules | {len(store.smiles())} |" in text
        assert store.data_hash[:16] in text
