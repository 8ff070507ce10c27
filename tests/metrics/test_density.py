import numpy as np
import pytest
from scipy.linalg import eigh

import nabladft
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.electronic import mulliken_charges
from nabladft.chemistry.moments import dipole_integrals, dipole_moment
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.metrics import (
    compare_orbitals,
    density_error,
    dipole_error,
    displaced_electrons,
    mulliken_charge_errors,
    mulliken_charges_mae,
    mulliken_charges_mae_by_element,
)


class Case:
    """A real conformation with a prediction, and both density matrices from SciPy."""

    def __init__(self, record, seed):
        noise = 0.02 * np.random.default_rng(seed).normal(size=record.hamiltonian.shape)
        self.numbers, self.positions = record.atomic_numbers, record.positions
        self.H, self.predicted = record.hamiltonian, record.hamiltonian + noise + noise.T
        self.S = overlap_matrix(self.numbers, self.positions)
        self.n_electrons = int(self.numbers.sum())
        self.density, self.predicted_density = (
            2 * (C := eigh(matrix, self.S)[1][:, : self.n_electrons // 2]) @ C.T
            for matrix in (self.H, self.predicted)
        )
        self.comparison = compare_orbitals(
            predicted=self.predicted,
            reference=self.H,
            overlap=self.S,
            n_electrons=self.n_electrons,
        )
        self.error = density_error(self.comparison)
        self.charges = mulliken_charge_errors(
            self.error, self.S, DEF2_SVP.orbitals_per_atom(self.numbers)
        )


@pytest.fixture(scope="module")
def cases():
    return [Case(r, k) for k, r in enumerate(nabladft.open("nano").read([3, 140, 280]))]


def test_the_error_of_the_density_is_that_of_two_densities(cases):
    for case in cases:
        np.testing.assert_allclose(
            case.error, case.predicted_density - case.density, rtol=0, atol=1e-9
        )


def test_displaced_electrons_are_a_trace_with_the_virtual_projector(cases):
    for case in cases:
        virtual = np.linalg.inv(case.S) - case.density / 2
        expected = np.trace(case.predicted_density @ case.S @ virtual @ case.S)

        assert displaced_electrons([case.comparison]).value == pytest.approx(expected, rel=1e-7)


def test_errors_of_charges_and_dipoles_are_differences_of_charges_and_dipoles(cases):
    for case in cases:
        pair = (case.predicted_density, case.density)
        charges = [mulliken_charges(P, case.S, case.numbers) for P in pair]
        dipoles = [dipole_moment(P, case.numbers, case.positions) for P in pair]
        integrals = dipole_integrals(case.numbers, case.positions)

        np.testing.assert_allclose(case.charges, charges[0] - charges[1], rtol=0, atol=1e-9)
        assert mulliken_charges_mae([case.charges]).value == pytest.approx(
            np.abs(charges[0] - charges[1]).mean(), rel=1e-8
        )
        assert dipole_error([case.error], [integrals]).value == pytest.approx(
            np.linalg.norm(dipoles[0] - dipoles[1]), rel=1e-7
        )


def test_the_dipole_error_has_no_origin(cases):
    case = cases[0]
    here, there = (dipole_integrals(case.numbers, case.positions + shift) for shift in (0.0, 10.0))

    found = dipole_error([case.error, case.error], [here, there])

    assert found.numerator[0] == pytest.approx(found.numerator[1], rel=1e-7)


def test_no_charge_is_lost_and_elements_add_up(cases):
    errors, numbers = [c.charges for c in cases], [c.numbers for c in cases]

    by_element = mulliken_charges_mae_by_element(errors, numbers)

    assert max(abs(error.sum()) for error in errors) < 1e-9
    whole = mulliken_charges_mae(errors)
    assert sum(t.numerator.sum() for t in by_element.values()) == pytest.approx(
        whole.numerator.sum()
    )
    assert sum(t.weight.sum() for t in by_element.values()) == whole.weight.sum()
    assert by_element[1].value == pytest.approx(
        np.mean(np.abs(np.concatenate(errors))[np.concatenate(numbers) == 1])
    )
