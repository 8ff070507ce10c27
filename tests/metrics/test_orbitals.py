from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import eigh, subspace_angles

import nabladft
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.errors import InputError, OrbitalCountError
from nabladft.metrics import (
    OrbitalBlock,
    compare_orbitals,
    displaced_electrons,
    gap_mae,
    hamiltonian_error_share,
    hamiltonian_mae_in_orbitals,
    homo_energy_mae,
    lumo_energy_mae,
    lumo_intruder_rate,
    occupied_intruder_rate,
    occupied_orbital_energies_mae,
    occupied_subspace_distance,
    occupied_subspace_largest_sine,
    wavefunction_similarity_published_qh9,
)

BLOCKS = OrbitalBlock.__args__
METRICS = [
    gap_mae,
    homo_energy_mae,
    lumo_energy_mae,
    occupied_orbital_energies_mae,
    occupied_subspace_distance,
    occupied_subspace_largest_sine,
    occupied_intruder_rate,
    lumo_intruder_rate,
    displaced_electrons,
]


class Case:
    """A real Hamiltonian and a prediction of it, with the orbitals as SciPy finds them."""

    def __init__(self, record, scale, seed):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=record.hamiltonian.shape)
        self.record, self.H = record, record.hamiltonian
        self.predicted = self.H + scale * (noise + noise.T) / np.sqrt(2)
        self.S = overlap_matrix(record.atomic_numbers, record.positions)
        self.n = int(record.atomic_numbers.sum()) // 2
        self.energies, self.C = eigh(self.H, self.S)
        self.predicted_energies, self.predicted_C = eigh(self.predicted, self.S)

    def compare(self, **changes):
        arguments = {"predicted": self.predicted, "reference": self.H, "overlap": self.S}
        return compare_orbitals(**{**arguments, "n_electrons": 2 * self.n, **changes})


@pytest.fixture(scope="module")
def cases():
    records = nabladft.open("nano").read([0, 101, 202, 303])
    return [Case(r, 1e-3 * 5**k, k) for k, r in enumerate(records)]


@pytest.fixture(scope="module")
def comparisons(cases):
    return [case.compare() for case in cases]


def test_orbital_energies_are_those_of_the_generalised_eigenproblem(cases, comparisons):
    pairs = [(case.n, case.predicted_energies - case.energies) for case in cases]
    expected = {
        occupied_orbital_energies_mae: [np.abs(e[:n]).mean() for n, e in pairs],
        homo_energy_mae: [abs(e[n - 1]) for n, e in pairs],
        lumo_energy_mae: [abs(e[n]) for n, e in pairs],
        gap_mae: [abs(e[n] - e[n - 1]) for n, e in pairs],
    }

    for metric, values in expected.items():
        found = metric(comparisons)
        np.testing.assert_allclose(found.numerator, values, rtol=1e-7, atol=1e-10)
        assert found.value == pytest.approx(np.mean(values), rel=1e-7)


def test_sines_are_those_of_scipys_subspace_angles(cases, comparisons):
    # SciPy works with the Euclidean product: S^1/2 C is orthonormal.
    for case, comparison in zip(cases, comparisons, strict=True):
        values, vectors = np.linalg.eigh(case.S)
        root = (vectors * np.sqrt(values)) @ vectors.T
        angles = subspace_angles(root @ case.C[:, : case.n], root @ case.predicted_C[:, : case.n])

        distance = occupied_subspace_distance([comparison]).value
        largest = occupied_subspace_largest_sine([comparison]).value

        assert distance == pytest.approx(np.sqrt((np.sin(angles) ** 2).mean()), rel=1e-7)
        assert largest == pytest.approx(np.sin(angles).max(), rel=1e-7)
        assert displaced_electrons([comparison]).value == pytest.approx(
            2 * (np.sin(angles) ** 2).sum(), rel=1e-7
        )


def test_the_distance_is_the_norm_of_the_density_error(cases, comparisons):
    for case, comparison in zip(cases, comparisons, strict=True):
        P, predicted = (2 * C[:, : case.n] @ C[:, : case.n].T for C in (case.C, case.predicted_C))
        error = (predicted - P) @ case.S

        norm = np.sqrt(np.trace(error @ error))

        distance = occupied_subspace_distance([comparison]).value
        assert norm == pytest.approx(np.sqrt(8 * case.n) * distance, rel=1e-6)


def test_tiny_angles_are_not_lost(cases):
    # The angles are near 1e-8, their cosines are 1 - 1e-16: an arccos would give noise.
    case = cases[0]
    error = case.predicted - case.H

    tiny, larger, none = (
        occupied_subspace_distance([case.compare(predicted=case.H + factor * error)]).value
        for factor in (1e-6, 1e-4, 0)
    )

    assert tiny < 1e-7
    assert tiny == pytest.approx(larger / 100, rel=1e-3)
    assert none < 1e-13


def test_blocks_of_the_error_equal_dense_loops(cases, comparisons):
    for case, comparison in zip(cases, comparisons, strict=True):
        error = case.C.T @ (case.predicted - case.H) @ case.C
        o, v = slice(0, case.n), slice(case.n, None)
        parts = {"occupied": error[o, o], "occupied_virtual": error[o, v], "virtual": error[v, v]}
        whole = (error**2).sum()

        for block, part in parts.items():
            mae = hamiltonian_mae_in_orbitals([comparison], block=block).value
            share = hamiltonian_error_share([comparison], block=block).value
            twice = 2 if block == "occupied_virtual" else 1
            assert mae == pytest.approx(np.abs(part).mean(), rel=1e-6)
            assert share == pytest.approx(twice * (part**2).sum() / whole, rel=1e-6)


def test_shares_add_up_to_one_and_need_an_error(cases, comparisons):
    whole = sum(hamiltonian_error_share(comparisons, block=block).value for block in BLOCKS)
    perfect = hamiltonian_error_share([cases[0].compare(predicted=cases[0].H)], block="virtual")

    assert whole == pytest.approx(1, rel=1e-12)
    assert perfect.value is None


def test_an_error_in_the_virtual_space_alone_changes_nothing_that_matters(cases):
    # H + S C_v E C_vᵀ S moves virtual orbitals only.
    case = cases[1]
    rng = np.random.default_rng(3)
    virtual = case.S @ case.C[:, case.n :]
    E = np.diag(rng.random(virtual.shape[1]))  # upwards, so that no order changes
    one = case.compare(predicted=case.H + virtual @ E @ virtual.T)

    assert hamiltonian_error_share([one], block="virtual").value == pytest.approx(1, abs=1e-12)
    for metric in (occupied_orbital_energies_mae, occupied_subspace_distance, homo_energy_mae):
        assert metric([one]).value < 1e-10


@pytest.mark.parametrize("order", ["psi4", "pyscf"])
def test_the_orbital_order_and_the_sequence_of_conformations_do_not_matter(cases, order):
    numbers = [case.record.atomic_numbers for case in cases]
    here = [case.compare() for case in cases]
    there = []
    for case, z in zip(cases, numbers, strict=True):
        moved = [
            reorder_orbitals(matrix, z, source="ascending", target=order)
            for matrix in (case.predicted, case.H, case.S)
        ]
        there.append(
            compare_orbitals(
                predicted=moved[0], reference=moved[1], overlap=moved[2], n_electrons=2 * case.n
            )
        )

    for metric in METRICS:
        assert metric(there[::-1]).value == pytest.approx(metric(here).value, rel=1e-7, abs=1e-12)


def test_degenerate_levels_may_be_rotated():
    # Two occupied levels at -1 and two virtual ones at 1, mixed within each pair by the tiniest
    # of errors: per-orbital cosines are arbitrary, subspaces and densities equal.
    H, S = np.diag([-1.0, -1.0, 1.0, 1.0]), np.eye(4)
    error = np.zeros((4, 4))
    error[0, 1] = error[1, 0] = error[2, 3] = error[3, 2] = 1e-10

    one = compare_orbitals(predicted=H + error, reference=H, overlap=S, n_electrons=4)

    assert wavefunction_similarity_published_qh9([one]).value == pytest.approx(np.sqrt(0.5))
    for metric in METRICS:
        assert metric([one]).value == pytest.approx(0, abs=1e-9)


def test_rotations_within_occupied_and_virtual_space_change_no_share_and_no_distance(comparisons):
    rng = np.random.default_rng(1)
    for one in comparisons:
        n, size = one.n_occupied, len(one.error)
        U = np.zeros((size, size))
        U[:n, :n] = np.linalg.qr(rng.normal(size=(n, n)))[0]
        U[n:, n:] = np.linalg.qr(rng.normal(size=(size - n, size - n)))[0]
        turned = replace(
            one,
            reference_coefficients=one.reference_coefficients @ U,
            error=U.T @ one.error @ U,
            predicted_orbitals=U.T @ one.predicted_orbitals,
        )

        for block in BLOCKS:
            share = hamiltonian_error_share([one], block=block).value
            assert hamiltonian_error_share([turned], block=block).value == pytest.approx(share)
        for metric in (occupied_subspace_distance, occupied_subspace_largest_sine):
            assert metric([turned]).value == pytest.approx(metric([one]).value, rel=1e-10)


def two_level(angle):
    """Two orbitals at -1 and 1; the predicted occupied one is turned by an angle."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    H = np.diag([-1.0, 1.0])
    return compare_orbitals(
        predicted=turn @ H @ turn.T, reference=H, overlap=np.eye(2), n_electrons=2
    )


@pytest.mark.parametrize("degrees", [0, 1e-6, 30, 44, 46, 90])
def test_a_turned_orbital_by_hand(degrees):
    angle = np.radians(degrees)

    one = two_level(angle)

    sine = pytest.approx(np.sin(angle), abs=1e-15)
    assert occupied_subspace_distance([one]).value == sine
    assert occupied_subspace_largest_sine([one]).value == sine
    assert displaced_electrons([one]).value == pytest.approx(2 * np.sin(angle) ** 2, abs=1e-15)
    assert occupied_intruder_rate([one]).value == float(degrees > 45)
    assert lumo_intruder_rate([one]).value == float(degrees > 45)
    assert homo_energy_mae([one]).value == pytest.approx(0, abs=1e-12)


def test_a_virtual_orbital_pulled_into_the_gap_is_an_intruder_as_lumo():
    # The orbital at 3 hartree is predicted at 0.4, below the LUMO at 0.5.
    H, S = np.diag([-1.0, 0.5, 3.0]), np.eye(3)
    low = np.diag([-1.0, 0.5, 0.4])

    one = compare_orbitals(predicted=low, reference=H, overlap=S, n_electrons=2)
    perfect = compare_orbitals(predicted=H, reference=H, overlap=S, n_electrons=2)

    assert lumo_intruder_rate([one, perfect]).value == 0.5
    assert occupied_intruder_rate([one, perfect]).value == 0
    assert lumo_energy_mae([one]).value == pytest.approx(0.1)


def test_two_lumos_within_an_electron_volt_may_change_places():
    H, S = np.diag([-1.0, 0.50, 0.52]), np.eye(3)
    swapped = np.diag([-1.0, 0.52, 0.50])

    one = compare_orbitals(predicted=swapped, reference=H, overlap=S, n_electrons=2)

    assert lumo_intruder_rate([one]).value == 0


def test_conformations_without_an_empty_or_occupied_orbital_do_not_count():
    full = compare_orbitals(
        predicted=np.eye(1), reference=-np.eye(1), overlap=np.eye(1), n_electrons=2
    )
    empty = compare_orbitals(
        predicted=np.eye(1), reference=-np.eye(1), overlap=np.eye(1), n_electrons=0
    )

    assert gap_mae([full, empty]).value is None
    assert lumo_intruder_rate([full, empty]).value is None
    assert homo_energy_mae([full, empty]).weight.tolist() == [1, 0]
    assert homo_energy_mae([full, empty]).value == 2
    assert hamiltonian_mae_in_orbitals([full, empty], block="occupied").weight.tolist() == [1, 0]


def test_open_shells_singular_overlaps_and_other_shapes_are_refused():
    H, S = np.diag([-1.0, 1.0]), np.eye(2)

    with pytest.raises(InputError, match=r"even number of electrons.*got 3"):
        compare_orbitals(predicted=H, reference=H, overlap=S, n_electrons=3)
    with pytest.raises(InputError, match="singular"):
        compare_orbitals(predicted=H, reference=H, overlap=np.ones((2, 2)), n_electrons=2)
    with pytest.raises(OrbitalCountError, match=r"\(3, 3\), not \(2, 2\)"):
        compare_orbitals(predicted=np.eye(3), reference=H, overlap=S, n_electrons=2)
