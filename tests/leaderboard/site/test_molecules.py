"""Drawings and xyz files of molecules."""

import io

import ase.io
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nabladft.leaderboard.details import WorstConformation
from nabladft.leaderboard.site.molecules import DrawnAtom, DrawnBond, draw_molecule, xyz_text

#: Water with O-H of 0.96 angstrom and 104.5 degrees; the drawing has 28 pixels for an angstrom.
WATER = np.array([[0.0, 0.0, 0.0], [0.759, 0.588, 0.0], [-0.759, 0.588, 0.0]])
#: A carbon with four different neighbours, so that its mirror image is another molecule.
CHIRAL = np.array([[0, 0, 0], [1.1, 0, 0], [-0.4, 1.3, 0], [-0.4, -0.6, 1.4], [-0.5, -0.8, -1.5]])


def conformation(numbers, positions):
    return WorstConformation(
        part="test_scaffolds",
        seed=1,
        metric="energy_mae",
        unit="hartree",
        value=0.1,
        molecule_id=1,
        conformation_id=2,
        smiles=None,
        atomic_numbers=tuple(numbers),
        positions_angstrom=tuple(map(tuple, np.asarray(positions, dtype=float).tolist())),
    )


def atoms_of(drawn):
    return [item for item in drawn.items if isinstance(item, DrawnAtom)]


def places(drawn):
    return sorted((atom.symbol, atom.x, atom.y) for atom in atoms_of(drawn))


def test_a_flat_molecule_is_drawn_to_scale():
    drawn = draw_molecule(conformation([8, 1, 1], WATER))
    bonds = [item for item in drawn.items if isinstance(item, DrawnBond)]

    assert len(bonds) == 2
    for bond in bonds:
        length = np.hypot(bond.x2 - bond.x1, bond.y2 - bond.y1)
        assert length == pytest.approx(28 * np.hypot(0.759, 0.588), abs=0.2)


@pytest.mark.parametrize("seed", range(3))
def test_a_turned_molecule_gives_the_same_drawing(seed):
    rotation = Rotation.random(random_state=seed).as_matrix()
    numbers = [6, 1, 9, 17, 35]
    one = draw_molecule(conformation(numbers, CHIRAL))
    two = draw_molecule(conformation(numbers, CHIRAL @ rotation.T + [3.0, -1.0, 2.0]))

    for (symbol, x, y), (other, x2, y2) in zip(places(one), places(two), strict=True):
        assert symbol == other
        assert (x, y) == pytest.approx((x2, y2), abs=0.21)


def test_a_mirror_image_gives_another_drawing():
    numbers = [6, 1, 9, 17, 35]
    one = draw_molecule(conformation(numbers, CHIRAL))
    two = draw_molecule(conformation(numbers, CHIRAL * [1, 1, -1]))
    order = [[atom.symbol for atom in atoms_of(drawn)] for drawn in (one, two)]

    assert places(one) != places(two) or order[0] != order[1]


def test_the_xyz_file_is_read_back():
    text = xyz_text(conformation([8, 1, 1], WATER), "two\nlines")

    read = ase.io.read(io.StringIO(text), format="xyz")

    np.testing.assert_allclose(read.positions, WATER, atol=1e-8)
    assert read.get_chemical_symbols() == ["O", "H", "H"]


@pytest.mark.parametrize("distance", [1e3, 1e300])
def test_atoms_at_the_end_of_the_world_are_not_drawn(distance):
    assert draw_molecule(conformation([1, 1], [[0, 0, 0], [distance, 0, 0]])) is None


def test_one_atom_is_a_circle():
    drawn = draw_molecule(conformation([118], [[5, 5, 5]]))

    assert [atom.symbol for atom in atoms_of(drawn)] == ["Og"]
