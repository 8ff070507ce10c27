import numpy as np
import pytest

import nabladft
from nabladft.chemistry.nuclei import (
    ISOTOPE_MASSES,
    nuclear_repulsion_energy,
    rotational_constants,
)
from nabladft.chemistry.units import BOHR_IN_ANGSTROM, convert
from nabladft.errors import UnsupportedElementError


@pytest.fixture(scope="module")
def records():
    return nabladft.open("nano")[::25]


def test_repulsion_is_that_of_the_labels(records):
    for record in records:
        found = nuclear_repulsion_energy(record.atomic_numbers, record.positions)
        assert found == pytest.approx(record.nuclear_repulsion_energy, abs=1e-9)


def test_one_atom_repels_nothing_and_two_in_one_place_without_end():
    assert nuclear_repulsion_energy(np.array([8]), np.zeros((1, 3))) == 0.0
    assert nuclear_repulsion_energy(np.array([1, 1]), np.zeros((2, 3))) == np.inf


def test_constants_of_water_are_those_of_its_geometry():
    # r(OH) = 0.9578 angstrom and 104.4776 degrees: 27.36, 14.58, 9.51 cm^-1.
    half = np.radians(104.4776 / 2)
    hydrogen = 0.9578 * np.array([np.sin(half), np.cos(half)])
    positions = np.array([[0, 0, 0], [hydrogen[0], hydrogen[1], 0], [-hydrogen[0], hydrogen[1], 0]])

    found = rotational_constants(np.array([8, 1, 1]), positions / BOHR_IN_ANGSTROM)

    expected = [27.36, 14.58, 9.51]
    np.testing.assert_allclose(
        convert(found, source="hartree", target="cm^-1"), expected, rtol=2e-3
    )


def test_constants_are_those_of_pyscf(records):
    thermo = pytest.importorskip("pyscf.hessian.thermo")

    for record in records:
        # Its own masses of isotopes are mass numbers.
        mass = np.array([ISOTOPE_MASSES[number] for number in record.atomic_numbers.tolist()])
        expected = np.sort(thermo.rotation_const(mass, record.positions, "GHz"))[::-1]
        found = rotational_constants(record.atomic_numbers, record.positions)
        found = convert(found, source="hartree", target="GHz")
        np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_constants_do_not_depend_on_place_and_direction(records, rng):
    record = records[0]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]

    moved = rotational_constants(record.atomic_numbers, record.positions @ rotation + 5.0)

    expected = rotational_constants(record.atomic_numbers, record.positions)
    np.testing.assert_allclose(moved, expected, rtol=1e-10)


def test_linear_molecule_does_not_turn_about_its_axis():
    found = rotational_constants(
        np.array([1, 6, 7]), np.array([[0, 0, -2], [0, 0, 0], [0, 0, 2.2]])
    )

    assert found[0] == np.inf
    assert found[1] == pytest.approx(found[2], rel=1e-12)


def test_element_without_a_mass_is_refused():
    with pytest.raises(UnsupportedElementError, match="No isotope mass for He"):
        rotational_constants(np.array([2, 1]), np.eye(3)[:2])
