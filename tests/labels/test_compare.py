"""Residuals between labels made here and labels given."""

import numpy as np
import pytest

from nabladft.conformation import Conformation
from nabladft.errors import InputError
from nabladft.labels.compare import compare_labels


def water(key, rng, **labels):
    return Conformation(
        molecule_id=key[0],
        conformation_id=key[1],
        atomic_numbers=np.array([8, 1, 1]),
        positions=rng.standard_normal((3, 3)),
        **labels,
    )


def test_residuals_are_made_minus_given_matched_by_key(memory_source, rng):
    forces = rng.standard_normal((3, 3))
    moved = forces.copy()
    moved[1, 2] += 3e-4
    given = memory_source(
        [
            water((1, 0), rng, formation_energy=-0.5, forces=forces),
            water((2, 0), rng, formation_energy=-0.4, forces=forces),
            water((3, 0), rng, formation_energy=-0.3, forces=forces),
        ]
    )
    made = memory_source(
        [
            water((3, 0), rng, formation_energy=-0.3, forces=forces),
            water((1, 0), rng, formation_energy=-0.499, forces=moved),
        ]
    )
    first, second = compare_labels(made, given)

    assert (first.molecule_id, second.molecule_id) == (1, 3)
    assert first.energy == pytest.approx(1e-3)
    assert first.forces_max == pytest.approx(3e-4)
    assert first.forces_rms == pytest.approx(1e-4)  # 3e-4 / sqrt(9)
    assert (second.energy, second.forces_max) == (0.0, 0.0)
    assert (first.formula, first.n_atoms) == ("H2O", 3)


def test_forces_are_left_out_where_none_were_given(memory_source, rng):
    made = memory_source([water((1, 0), rng, energy=-76.0, forces=np.zeros((3, 3)))])
    given = memory_source([water((1, 0), rng, energy=-76.5)])
    (residual,) = compare_labels(made, given)

    assert residual.energy == pytest.approx(0.5)
    assert residual.forces_max is None


def test_nothing_to_compare_with_is_refused(memory_source, rng):
    source = memory_source([water((1, 0), rng, dipole=np.zeros(3))])

    with pytest.raises(InputError, match=r"has no energies to compare with; it has dipole"):
        compare_labels(source, source)
