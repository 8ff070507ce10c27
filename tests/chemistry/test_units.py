import itertools

import numpy as np
import pytest

from nabladft.chemistry import units
from nabladft.chemistry.units import convert, known_units
from nabladft.errors import UnitError
from nabladft.fields import FIELDS

DIMENSIONS = [
    ["bohr", "angstrom"],
    ["hartree", "millihartree", "microhartree", "eV", "meV", "kcal/mol", "kJ/mol"],
    ["hartree", "cm^-1", "MHz", "GHz"],
    ["hartree/bohr", "hartree/angstrom", "eV/angstrom", "kcal/mol/angstrom"],
    ["e*bohr", "debye"],
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOHR_IN_ANGSTROM", 0.529177210544),
        ("HARTREE_IN_EV", 27.211386245981),
        ("HARTREE_IN_KCAL_PER_MOL", 627.5094740631),
        ("HARTREE_IN_INVERSE_CM", 219474.63136314),
        ("HARTREE_IN_MHZ", 6.579683920499964e9),
        ("HARTREE_IN_KJ_PER_MOL", 2625.4996394799),
        ("DEBYE_IN_ATOMIC_UNITS", 0.3934302695),
        ("BOLTZMANN_IN_HARTREE_PER_KELVIN", 3.1668115634564e-6),
        ("DALTON_IN_ELECTRON_MASSES", 1822.888486),
    ],
)
def test_constants_are_codatas(name, value):
    # CODATA 2022; older SciPy has 2018, which differs from the tenth digit on.
    assert getattr(units, name) == pytest.approx(value, rel=1e-9)


def test_the_bohr_of_the_published_labels_is_codata_2014():
    relative = units.PUBLISHED_BOHR_IN_ANGSTROM / units.BOHR_IN_ANGSTROM - 1

    assert relative == pytest.approx(0.52917721067 / 0.529177210544 - 1, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.0, "hartree", "kcal/mol", 627.5094740631),
        (1.0, "hartree", "eV", 27.211386245981),
        (1.0, "angstrom", "bohr", 1.8897261246),
        (1.0, "hartree/bohr", "eV/angstrom", 51.4220675),
        (1.0, "hartree/angstrom", "hartree/bohr", 0.529177210544),
        (1.0, "kcal/mol/angstrom", "hartree/bohr", 0.529177210544 / 627.5094740631),
        (1.0, "e*bohr", "debye", 2.541746473),
        (1.0, "kcal/mol", "kJ/mol", 4.184),
        (2.0, "hartree", "millihartree", 2000.0),
        (1.0, "eV", "meV", 1000.0),
    ],
)
def test_conversions_have_known_values(value, source, target, expected):
    assert convert(value, source=source, target=target) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("names", DIMENSIONS, ids=lambda names: names[0])
def test_conversions_are_undone_by_their_inverse(names, rng):
    values = rng.normal(size=(4, 3))
    for source, target in itertools.permutations(names, 2):
        there = convert(values, source=source, target=target)

        back = convert(there, source=target, target=source)

        assert there.shape == values.shape
        np.testing.assert_allclose(back, values, rtol=1e-14)


def test_quantities_of_different_dimension_are_refused():
    with pytest.raises(UnitError, match="bohr is a unit of length and eV one of energy"):
        convert(1.0, source="bohr", target="eV")
    with pytest.raises(UnitError, match="unit of energy and hartree/bohr one of force"):
        convert(1.0, source="hartree", target="hartree/bohr")


def test_an_unknown_unit_is_refused_with_the_nearest_one():
    with pytest.raises(UnitError, match=r"Unknown unit 'hartee'\. Did you mean 'hartree'\?"):
        convert(1.0, source="hartee", target="eV")
    with pytest.raises(UnitError, match="Did you mean 'angstrom'"):
        convert(1.0, source="bohr", target="Angstrom")


def test_every_unit_of_a_field_is_known():
    assert {field.unit for field in FIELDS.values()} <= set(known_units())


def test_fields_are_in_atomic_units():
    for field in FIELDS.values():
        assert convert(1.0, source=field.unit, target=field.unit) == 1.0
        assert units._unit(field.unit)[1] == 1.0, field.name
