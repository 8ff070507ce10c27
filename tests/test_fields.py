import dataclasses

import numpy as np
import pytest

from nabladft.conformation import Conformation
from nabladft.errors import UnknownNameError
from nabladft.fields import FIELDS, GEOMETRY_FIELDS, LABEL_FIELDS, field_named

#: Attributes of a record that are not quantities.
IDENTITY = {
    "molecule_id",
    "conformation_id",
    "smiles",
    "geometry_origin",
    "orbital_order",
    "basis_set",
}


def test_a_record_has_exactly_the_fields_of_the_vocabulary():
    attributes = {field.name for field in dataclasses.fields(Conformation)}

    assert attributes - IDENTITY == set(FIELDS)
    assert attributes >= IDENTITY


def test_labels_are_absent_unless_given():
    defaults = {field.name: field.default for field in dataclasses.fields(Conformation)}

    assert {name: defaults[name] for name in LABEL_FIELDS} == dict.fromkeys(LABEL_FIELDS)


def test_geometry_and_labels_make_up_the_vocabulary():
    assert FIELDS == {**GEOMETRY_FIELDS, **LABEL_FIELDS}
    assert not set(GEOMETRY_FIELDS) & set(LABEL_FIELDS)


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_every_field_is_declared_in_full(field):
    assert FIELDS[field.name] is field
    assert field.description.endswith(".")
    assert np.dtype(field.dtype).itemsize >= 4
    assert all(axis in ("n_atoms", "n_orbitals") or isinstance(axis, int) for axis in field.shape)
    if field.symmetric:
        assert field.shape == ("n_orbitals", "n_orbitals")
    assert field.in_orbitals == (field.shape == ("n_orbitals", "n_orbitals"))


def test_energies_are_double_precision():
    # Total energies of thousands of hartree lose 1e-4 in single precision.
    assert {field.dtype for field in FIELDS.values() if field.unit == "hartree"} == {"float64"}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("energy", ()),
        ("dipole", (3,)),
        ("forces", (3, 3)),
        ("positions", (3, 3)),
        ("hamiltonian", (24, 24)),
        ("orbital_energies", (24,)),
    ],
)
def test_shapes_of_water(name, shape):
    assert FIELDS[name].shape_for(n_atoms=3, n_orbitals=24) == shape


def test_a_matrix_without_its_size_is_refused():
    with pytest.raises(ValueError, match=r"overlap .* needs n_orbitals"):
        FIELDS["overlap"].shape_for(n_atoms=3, n_orbitals=None)


def test_an_unknown_field_is_refused_with_the_nearest_one():
    assert field_named("forces") is FIELDS["forces"]
    with pytest.raises(UnknownNameError, match=r"No field 'force'\. Did you mean 'forces'\?"):
        field_named("force")
