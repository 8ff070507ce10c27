"""Geometries from SMILES: distinct, reproducible, and honest about where they come from."""

import numpy as np
import pytest
from rdkit.Chem import rdMolAlign

from nabladft.errors import ConfigError
from nabladft.labels.conformers import (
    CLUSTER_RADIUS,
    GeometrySettings,
    _without_carbon_hydrogens,
    cluster_centroids,
    embed,
    make_geometries,
)
from nabladft.labels.molecules import InputMolecule

GLYCOL = InputMolecule(3, "OCCO", "ethylene glycol", "line 3")
THIOPHENE = InputMolecule(4, "c1ccsc1", "thiophene", "line 4")


def positions_of(molecule, **settings):
    return [record.positions for record in make_geometries(molecule, GeometrySettings(**settings))]


def test_same_seed_same_geometries_whatever_was_made_before():
    settings = {"seed": 5, "conformations": 4, "displaced": 0.5, "embeddings": 30}
    first = positions_of(GLYCOL, **settings)
    positions_of(THIOPHENE, **settings)

    for one, other in zip(first, positions_of(GLYCOL, **settings), strict=True):
        np.testing.assert_array_equal(one, other)
    different = positions_of(GLYCOL, **{**settings, "seed": 6})
    assert not any(np.allclose(a, b) for a, b in zip(first, different, strict=True))


def test_centroids_are_distinct():
    mol = embed(GLYCOL, GeometrySettings(seed=1))
    centroids = cluster_centroids(mol)
    skeleton = _without_carbon_hydrogens(mol)
    distances = [
        rdMolAlign.GetBestRMS(skeleton, skeleton, one, other)
        for index, one in enumerate(centroids)
        for other in centroids[:index]
    ]

    # Rotamers of both bonds to oxygen and of the middle one: several, and fewer than embedded.
    assert 5 < len(centroids) < 50
    assert min(distances) > CLUSTER_RADIUS


def test_centroids_stand_for_95_percent_of_the_conformers():
    mol = embed(GLYCOL, GeometrySettings(seed=1))
    centroids = cluster_centroids(mol)
    skeleton = _without_carbon_hydrogens(mol)
    n_near = sum(
        min(rdMolAlign.GetBestRMS(skeleton, skeleton, c.GetId(), k) for k in centroids)
        <= CLUSTER_RADIUS
        for c in mol.GetConformers()
    )

    assert n_near >= 95


def test_equivalent_atoms_do_not_make_conformers():
    mol = embed(InputMolecule(1, "CC(C)(C)C", "neopentane", "line 1"), GeometrySettings())

    assert len(cluster_centroids(mol)) == 1


def test_without_a_number_only_conformers_are_made():
    origins = {r.geometry_origin for r in make_geometries(GLYCOL, GeometrySettings(embeddings=20))}

    assert origins == {"etkdg"}


def test_a_rigid_molecule_is_displaced_and_says_so():
    records = make_geometries(THIOPHENE, GeometrySettings(conformations=3, temperature=250.0))

    assert [r.geometry_origin for r in records] == ["etkdg", *2 * ["thermal 250 K (MMFF94)"]]
    assert [r.conformation_id for r in records] == [0, 1, 2]
    assert {r.molecule_id for r in records} == {4}
    assert not np.allclose(records[1].positions, records[2].positions, atol=1e-3)


def test_a_share_is_displaced_also_where_conformers_abound():
    settings = GeometrySettings(conformations=5, displaced=0.6, embeddings=30)
    origins = [record.geometry_origin for record in make_geometries(GLYCOL, settings)]

    assert origins == ["etkdg"] * 2 + ["thermal 300 K (MMFF94)"] * 3


def test_lengths_are_in_bohr():
    record = make_geometries(InputMolecule(1, "C#C", "", ""), GeometrySettings(embeddings=1))[0]

    assert np.linalg.norm(record.positions[0] - record.positions[1]) == pytest.approx(2.27, abs=0.1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"embeddings": 0}, "embeddings must be at least 1"),
        ({"conformations": 0}, "conformations must be at least 1"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"displaced": 1.0, "conformations": 2}, "displaced must be from 0 to below 1"),
        ({"displaced": 0.5}, "displaced needs conformations"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_settings_out_of_their_domain_are_refused(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        GeometrySettings(**settings)
