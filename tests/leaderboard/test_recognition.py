"""Mistakes of energies and forces are named, and bad predictions are not."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import nabladft
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.leaderboard.recognition import (
    name_energy_mistake,
    name_forces_mistake,
    work_between,
)

EV = 27.2114
EV_PER_ANGSTROM = 51.4221


@pytest.fixture(scope="module")
def flat():
    nano = nabladft.open("nano")
    return nano.read_flat(np.arange(120, 160), fields=["energy", "forces"])


@pytest.fixture(scope="module")
def isolated(flat):
    ends = flat.atom_offsets
    return np.array(
        [isolated_atoms_energy(flat.atomic_numbers[i:j]) for i, j in itertools.pairwise(ends)]
    )


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda e, a, n: EV * e, "energies in eV, stored as hartree"),
        (lambda e, a, n: 27.2 * e, "energies in eV, stored as hartree"),
        (lambda e, a, n: e / EV, "energies in hartree, stored as eV"),
        (lambda e, a, n: 627.5 * e, "energies in kcal/mol, stored as hartree"),
        (lambda e, a, n: e - a, "formation energies, where total energies are expected"),
        (
            lambda e, a, n: 627.5 * (e - a),
            "formation energies in kcal/mol, stored as hartree, where total energies are expected",
        ),
        (lambda e, a, n: -e, "minus the energies"),
        (lambda e, a, n: e / n, "energies divided by the number of atoms"),
    ],
)
def test_a_mistake_of_energies_is_named(flat, isolated, rng, wrong, name):
    energy, n_atoms = flat.values["energy"], np.diff(flat.atom_offsets)
    fair = energy + 0.05 * rng.normal(size=len(energy))

    found = name_energy_mistake(
        wrong(fair, isolated, n_atoms), energy, isolated=isolated, n_atoms=n_atoms
    )

    assert found == name


@pytest.mark.parametrize(
    "bad",
    [
        lambda e, a, noise: e,
        lambda e, a, noise: a,
        lambda e, a, noise: 0 * e,
        lambda e, a, noise: 0 * e + e.mean(),
        lambda e, a, noise: e + 100 * noise,
        lambda e, a, noise: e + 500,
        lambda e, a, noise: noise,
        lambda e, a, noise: EV * a,
    ],
)
def test_a_bad_prediction_of_energies_is_no_mistake(flat, isolated, rng, bad):
    energy = flat.values["energy"]

    predicted = bad(energy, isolated, rng.normal(size=len(energy)))

    assert name_energy_mistake(predicted, energy, isolated=isolated) is None


@pytest.mark.parametrize(
    ("factor", "name"),
    [
        (-1, "gradients (minus the forces)"),
        (EV_PER_ANGSTROM, "forces in eV/angstrom, stored as hartree/bohr"),
        (1 / EV_PER_ANGSTROM, "forces in hartree/bohr, stored as eV/angstrom"),
        (1.8897, "forces in hartree/angstrom, stored as hartree/bohr"),
        (
            -1185.82,
            "gradients (minus the forces) in kcal/mol/angstrom, stored as hartree/bohr",
        ),
    ],
)
def test_a_mistake_of_forces_is_named(flat, rng, factor, name):
    forces = flat.values["forces"]
    fair = forces + 0.2 * forces.std() * rng.normal(size=forces.shape)

    assert name_forces_mistake(factor * fair, forces, flat.atom_offsets) == name


def test_forces_in_another_frame_are_named(flat):
    forces, ends = flat.values["forces"], flat.atom_offsets
    turned = np.concatenate(
        [
            forces[i:j] @ Rotation.random(random_state=k).as_matrix()
            for k, (i, j) in enumerate(itertools.pairwise(ends))
        ]
    )

    assert name_forces_mistake(turned, forces, ends).startswith("forces of molecules that were t")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_a_bad_prediction_of_forces_is_no_mistake(flat, rng, share, noise):
    forces = flat.values["forces"]

    predicted = share * forces + noise * forces.std() * rng.normal(size=forces.shape)

    assert name_forces_mistake(predicted, forces, flat.atom_offsets) is None


def springs(positions, lengths):
    """Energy and forces of springs between all atoms."""
    between = positions[:, None] - positions[None]
    distances = np.linalg.norm(between, axis=-1) + np.eye(len(positions))
    stretch = (distances - lengths) * (1 - np.eye(len(positions)))
    forces = -(stretch / distances)[..., None] * between
    return 0.25 * np.sum(stretch**2), forces.sum(axis=1)


def test_the_work_of_forces_is_the_change_of_the_energy_of_springs_in_any_frame(rng):
    center = 2 * rng.normal(size=(8, 3))
    lengths = 0.7 * np.linalg.norm(center[:, None] - center[None], axis=-1)
    geometries = [center + 0.02 * rng.normal(size=(8, 3)) for _ in range(4)]
    results = [springs(one, lengths) for one in geometries]
    turns = [Rotation.random(random_state=k).as_matrix() for k in range(4)]

    def work(frames):
        return work_between(
            energy=np.array([energy for energy, _ in results]),
            forces=np.concatenate([f @ t for (_, f), t in zip(results, frames, strict=True)]),
            positions=np.concatenate(
                [p @ t + 1.0 for p, t in zip(geometries, frames, strict=True)]
            ),
            atom_offsets=8 * np.arange(5),
            molecule_id=np.full(4, 5),
        )

    differences, works = work(turns)

    assert len(differences) == 6
    np.testing.assert_allclose(works, differences, rtol=0, atol=1e-3 * np.abs(differences).max())
    np.testing.assert_allclose(work([np.eye(3)] * 4)[1], works, rtol=1e-9)


def test_the_labels_of_the_data_agree_with_themselves(flat):
    differences, works = work_between(
        energy=flat.values["energy"],
        forces=flat.values["forces"],
        positions=flat.positions,
        atom_offsets=flat.atom_offsets,
        molecule_id=flat.molecule_id,
    )

    assert len(differences) >= 5
    np.testing.assert_allclose(works, differences, atol=0.3 * np.abs(differences).max())
    assert np.corrcoef(differences, works)[0, 1] > 0.95


def test_geometries_of_different_molecules_are_not_compared(flat):
    differences, _ = work_between(
        energy=flat.values["energy"],
        forces=flat.values["forces"],
        positions=flat.positions,
        atom_offsets=flat.atom_offsets,
        molecule_id=np.arange(len(flat)),
    )

    assert len(differences) == 0
