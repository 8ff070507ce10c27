import numpy as np
import pytest

import nabladft
from nabladft.chemistry.hamiltonian_order import order_agreements, order_of_hamiltonians
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.units import BOHR_IN_ANGSTROM
from nabladft.errors import OrbitalCountError

ORDERS = ["ascending", "pyscf", "psi4"]


@pytest.fixture(scope="module")
def records():
    return nabladft.open("nano")[::35]


def in_order(record, order):
    return reorder_orbitals(
        record.hamiltonian, record.atomic_numbers, source="ascending", target=order
    )


@pytest.mark.parametrize("order", ORDERS)
def test_order_of_real_hamiltonians_is_found_from_each_alone(records, order):
    for record in records:
        arguments = ([in_order(record, order)], [record.atomic_numbers], [record.positions])

        agreements = order_agreements(*arguments)

        assert order_of_hamiltonians(*arguments) == order
        assert agreements[order] > 0.8
        assert max(agreements[other] for other in ORDERS if other != order) < 0.5
        assert agreements["orca"] == agreements["psi4"]  # the same without f shells


def test_order_is_not_guessed(records, rng):
    record = records[0]
    n = len(record.hamiltonian)
    noise = rng.normal(size=(n, n))
    molecule, geometry = [record.atomic_numbers], [record.positions]

    assert order_of_hamiltonians([noise + noise.T], molecule, geometry) is None
    assert order_of_hamiltonians([np.zeros((n, n))], molecule, geometry) is None
    # Of another geometry: in angstrom instead of bohr.
    moved = [record.positions * BOHR_IN_ANGSTROM]
    assert order_of_hamiltonians([record.hamiltonian], molecule, moved) is None
    # A single atom has no neighbours.
    assert order_of_hamiltonians([np.eye(5)], [np.array([1])], [np.zeros((1, 3))]) is None


def test_matrix_of_another_molecule_is_refused(records):
    with pytest.raises(OrbitalCountError, match="orbitals expected"):
        order_agreements([np.eye(3)], [records[0].atomic_numbers], [records[0].positions])
