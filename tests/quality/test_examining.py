import json

import numpy as np
import pytest

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.errors import ConformationError, InputError, UnknownNameError
from nabladft.quality import examine
from nabladft.quality.checks import with_thresholds
from nabladft.quality.duplicates import DuplicateFinder
from nabladft.quality.fitting import fit_composition
from nabladft.quality.measures import (
    contacts_and_repulsions,
    distance_difference,
    force_maximum,
    gap_of,
    net_force,
)
from nabladft.storage.flat import flatten
from nabladft.storage.opening import open_source


@pytest.fixture(scope="module")
def records():
    return list(open_source("nano"))


def rotated(positions, rng):
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return positions @ matrix.T + rng.normal(size=3)


def flagged(report, check):
    return [
        (flag.molecule_id, flag.conformation_id) for flag in report.flags if flag.check == check
    ]


# The examples of flagged records: a good record, one thing changed, and the check that must see it.


def test_good_data_are_not_flagged(records):
    report = examine("nano", eigenproblems=20)

    assert report.flags == []
    assert report.n_conformations == len(records)
    assert report.n_eigenproblems == 20
    atoms = np.array([record.n_atoms for record in records])
    assert report.distributions["n_atoms"].mean == pytest.approx(atoms.mean())
    assert report.distributions["conformations_per_molecule"].n == 96
    assert report.element_conformations["Br"] == 33
    assert report.element_atoms["Br"] == 33


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("net_force", lambda r: {"forces": r.forces + 0.01}),
        ("force_maximum", lambda r: {"forces": 20.0 * r.forces}),
        ("zero_forces", lambda r: {"forces": np.zeros_like(r.forces)}),
        ("energy_z", lambda r: {"formation_energy": 0.5 * r.formation_energy}),
        ("short_contact", lambda r: {"positions": 0.6 * r.positions}),
    ],
)
def test_one_wrong_record_is_found(memory_source, records, check, change):
    wrong = records[77].replace(hamiltonian=None, **change(records[77]))
    source = memory_source([*records[:77], wrong, *records[78:]])

    report = examine(source, eigenproblems=0)

    assert flagged(report, check) == [wrong.key]
    assert report.counts[check] == 1


def test_a_geometry_that_is_there_twice_is_found(memory_source, records, rng):
    one = records[30]
    again = one.replace(
        molecule_id=9999,
        positions=rotated(one.positions, rng)[::-1],
        atomic_numbers=one.atomic_numbers[::-1],
        forces=None,
        hamiltonian=None,
    )
    source = memory_source([*records[:60], again])

    report = examine(source, eigenproblems=0)

    assert flagged(report, "duplicate_geometry") == [(9999, one.conformation_id)]
    (flag,) = [flag for flag in report.flags if flag.check == "duplicate_geometry"]
    assert flag.value < 1e-9
    assert flag.remark == f"as {one.molecule_id}/{one.conformation_id}"


@pytest.mark.parametrize(
    ("check", "change", "remark"),
    [
        (
            "eigenproblem",
            lambda r: {"positions": np.tile(r.positions[:1], (r.n_atoms, 1))},
            "overlap matrix is singular",
        ),
        ("gap", lambda r: {"hamiltonian": np.zeros_like(r.hamiltonian)}, ""),
        ("hamiltonian", lambda r: {"hamiltonian": 27.2114 * r.hamiltonian}, "looks like eV"),
        ("hamiltonian", lambda r: {"orbital_order": "psi4"}, "look like ascending"),
    ],
)
def test_a_hamiltonian_that_makes_no_sense_is_found(memory_source, records, check, change, remark):
    wrong = records[3].replace(**change(records[3]))

    report = examine(memory_source([records[0], wrong, records[9]]), eigenproblems=None)

    assert flagged(report, check) == [wrong.key]
    assert remark in next(flag.remark for flag in report.flags if flag.check == check)


def test_an_odd_number_of_electrons_is_no_closed_shell(memory_source, records):
    numbers = np.array([8, 1])
    radical = records[0].replace(
        atomic_numbers=numbers,
        positions=np.array([[0, 0, 0.0], [0, 0, 1.8]]),
        forces=None,
        dipole=None,
        orbital_energies=None,
        mulliken_charges=None,
        loewdin_charges=None,
        hamiltonian=np.diag(np.arange(DEF2_SVP.n_orbitals(numbers), dtype=float)),
    )

    report = examine(memory_source([radical]), eigenproblems=None)

    assert "even number of electrons" in report.flags[0].remark


def test_a_record_that_cannot_be_read_is_flagged_and_the_rest_goes_on(memory_source, records):
    class Damaged(memory_source):
        def read(self, indices, *, fields=None):
            if fields is None or "forces" in fields:
                bad = [i for i in indices if int(i) in (4, 11)]
                if bad:
                    message = f"row {bad[0]} is not symmetric"
                    raise ConformationError(message)
            return super().read(indices, fields=fields)

    source = Damaged([record.replace(hamiltonian=None) for record in records[:20]])

    report = examine(source)

    assert report.n_conformations == 18
    assert flagged(report, "unreadable") == [records[4].key, records[11].key]
    assert "not symmetric" in report.flags[0].remark


def test_the_broken_ring_in_the_published_sample_is_found(published_energy_file):
    # Row 22: a pyridine with a C-C bond of 1.72 and a C-N bond of 1.15 angstrom.
    report = examine(published_energy_file)

    assert flagged(report, "energy_z") == [(1366563, 1)]
    assert flagged(report, "force_maximum") == [(1366563, 1)]


def test_only_some_records_are_examined_when_asked(records):
    report = examine("nano", limit=40, eigenproblems=3)

    assert (report.n_conformations, report.n_eigenproblems) == (40, 3)


def test_data_without_labels_have_geometries_to_look_at(memory_source, records):
    bare = [record.replace(**dict.fromkeys(record.fields)) for record in records[:9]]

    report = examine(memory_source(bare))

    assert list(report.distributions) == [
        *("n_atoms", "conformations_per_molecule", "closest_contact")
    ]


def test_nothing_is_examined_without_complaint(memory_source):
    assert examine(memory_source([])).n_conformations == 0


def test_the_report_can_be_written_as_json():
    document = json.loads(json.dumps(examine("nano", eigenproblems=0).to_document()))

    assert document["checks"]["net_force"]["threshold"] == 5e-3
    assert document["distributions"]["force_norm"]["unit"] == "hartree/bohr"
    assert set(document["composition_fit"]["energy_of_atom"]) == set("H C N O F S Cl Br".split())


def test_thresholds_are_changed_by_name():
    assert with_thresholds({"gap": 0.3})["gap"].threshold == 0.3
    with pytest.raises(UnknownNameError, match=r"No check 'gp'. Did you mean 'gap'"):
        with_thresholds({"gp": 0.3})
    with pytest.raises(InputError, match="'unreadable' has no threshold"):
        with_thresholds({"unreadable": 1.0})
    with pytest.raises(InputError, match="limit must be at least 1"):
        examine("nano", limit=0)


# The measures themselves.


def test_measures_do_not_depend_on_place_and_order(records, rng):
    one = records[12]
    order = rng.permutation(one.n_atoms)
    other = one.replace(
        positions=rotated(one.positions, rng)[order],
        atomic_numbers=one.atomic_numbers[order],
        hamiltonian=None,
    )
    flat = flatten([one, other], ["forces"])

    contacts, repulsions = contacts_and_repulsions(flat)

    assert contacts[0] == pytest.approx(contacts[1])
    assert repulsions[0] == pytest.approx(repulsions[1])
    assert distance_difference(one, other) < 1e-10
    assert distance_difference(one, records[13]) > 1e-3
    assert distance_difference(one, records[40]) == float("inf")


def test_measures_of_two_atoms_by_hand(records):
    pair = records[0].replace(
        **dict.fromkeys(records[0].fields),
        atomic_numbers=np.array([8, 1]),
        positions=np.array([[0, 0, 0.0], [0, 0, 2.0]]),
    )
    pair = pair.replace(forces=np.array([[3.0, 0, 0], [0, -4.0, 0]]))
    flat = flatten([pair], ["forces"])

    contacts, repulsions = contacts_and_repulsions(flat)

    assert repulsions.tolist() == [4.0]  # 8 * 1 / 2
    assert contacts[0] == pytest.approx(2.0 * 0.529177 / (0.66 + 0.31), rel=1e-5)  # Cordero 2008
    assert (net_force(flat).tolist(), force_maximum(flat).tolist()) == ([5.0], [4.0])


def test_the_gap_is_that_of_the_stored_orbital_energies(records):
    record = records[20]
    n = int(record.atomic_numbers.sum()) // 2
    stored = record.orbital_energies if record.orbital_energies is not None else None
    if stored is None:
        pytest.skip("nano holds no orbital energies")

    assert gap_of(record) == pytest.approx(stored[n] - stored[n - 1], abs=1e-5)


def test_outliers_do_not_move_the_fit(rng):
    counts = rng.integers(1, 12, size=(400, 3)).astype(float)
    truth = np.array([-0.1, -0.27, -0.16])
    energy = counts @ truth + 1e-3 * counts.sum(axis=1) * rng.normal(size=400)
    energy[:40] += 5.0

    fit = fit_composition(counts, energy, elements=np.array([1, 6, 7]))

    np.testing.assert_allclose(fit.energies, truth, atol=1e-3)
    assert fit.scale == pytest.approx(1e-3, rel=0.2)
    z = np.abs(fit.z_scores(counts, energy))
    assert (z[:40] > 6).all()
    assert (z[40:] < 6).all()


def test_candidates_share_composition_and_repulsion(records):
    flat = flatten([records[0], records[50], records[0]], [])
    _, repulsion = contacts_and_repulsions(flat)

    with DuplicateFinder() as finder:
        finder.add(flat, repulsion, np.array([5, 6, 7]))
        assert list(finder.candidates()) == [(5, 7)]
