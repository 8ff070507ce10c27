import numpy as np
import pytest

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.errors import FormatError, UnsupportedElementError
from nabladft.storage.derived import derivable_fields, energy_kind, isolated_atoms_energies
from nabladft.storage.ragged import offsets_of


def test_sums_of_isolated_atoms_are_bit_for_bit_those_of_one_molecule(rng):
    molecules = [rng.choice([1, 6, 7, 8, 9, 16, 17, 35], size=n) for n in (1, 40, 7, 23)]
    offsets = offsets_of(np.array([len(molecule) for molecule in molecules]))

    sums = isolated_atoms_energies(np.concatenate(molecules), offsets)

    assert sums.tolist() == [isolated_atoms_energy(molecule) for molecule in molecules]


def test_sum_over_an_unknown_element_is_refused():
    with pytest.raises(UnsupportedElementError, match="isolated-atom energy for Si"):
        isolated_atoms_energies(np.array([1, 14, 1]), np.array([0, 3]))


@pytest.mark.parametrize(
    ("stored", "method", "elements", "expected"),
    [
        (("energy",), "wB97X-D/def2-SVP", (1, 6), ("formation_energy",)),
        (("formation_energy",), "WB97X-D/def2-svp", (1,), ("energy",)),
        (("forces",), "wB97X-D/def2-SVP", (1,), ()),
        (("energy",), None, (1,), ()),
        (("energy",), "PBE/def2-SVP", (1,), ()),
        (("energy",), "wB97X-D/def2-SVP", (1, 14), ()),
    ],
)
def test_energies_follow_only_where_the_isolated_atoms_are_known(
    stored, method, elements, expected
):
    assert derivable_fields(stored, method=method, elements=elements) == expected


def test_kind_of_energy_is_told_by_its_size():
    hydrogen, aspirin = np.array([1, 1]), np.array([6] * 9 + [8] * 4 + [1] * 8)
    atoms = [isolated_atoms_energy(hydrogen), isolated_atoms_energy(aspirin)]

    assert energy_kind([atoms[0] - 0.16, atoms[1] - 4.1], [hydrogen, aspirin]) == "energy"
    assert energy_kind([-0.16, -4.1], [hydrogen, aspirin]) == "formation_energy"
    with pytest.raises(FormatError, match="Some energies look like total"):
        energy_kind([-0.16, atoms[1] - 4.1], [hydrogen, aspirin])
