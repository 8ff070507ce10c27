import dataclasses
import json

import numpy as np
import pytest
from scipy.linalg import eigh

import nabladft
from nabladft.benchmark.evaluation import evaluate, file_sha256
from nabladft.benchmark.results import read_results, results_to_json, write_results
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.packing import pack_lower
from nabladft.conformation import Conformation
from nabladft.errors import (
    FormatError,
    InputError,
    MissingFieldError,
    OrbitalOrderError,
    PredictionsError,
    SplitError,
    UnitError,
    UnknownNameError,
)
from nabladft.metrics import METRICS
from nabladft.predictions import PredictionsWriter
from tests.conftest import MemorySource
from tests.scoring_data import (
    disturbed,
    info_for,
    random_records,
    split_of,
    write_predictions,
)

PART = "test_structures"


@pytest.fixture(scope="module")
def records():
    return random_records()


@pytest.fixture(scope="module")
def source(records):
    return MemorySource(records)


@pytest.fixture(scope="module")
def split(source):
    return split_of(source)


@pytest.fixture(scope="module")
def wanted(source, split):
    return source.read(source.rows_of(split.part(PART)))


@pytest.fixture(scope="module")
def guesses(wanted):
    rng = np.random.default_rng(5)
    return [disturbed(record, rng) for record in wanted]


@pytest.fixture
def score(tmp_path, source, split, guesses):
    """Write predictions and score them; what is not said is as it should be."""

    def run(records=guesses, *, info=None, data=source, fields=None, **options):
        info = info or info_for(source, split, PART)
        fields = fields or ("energy", "forces", "hamiltonian")
        path = write_predictions(tmp_path / "p.h5", records, info, fields)
        return evaluate(path, data, **{"split": split, **options})

    return run


def test_scores_equal_a_plain_computation_on_dense_arrays(score, wanted, guesses):
    pairs = list(zip(guesses, wanted, strict=True))
    energy = [abs(p.energy - r.energy) for p, r in pairs]
    matrices = [np.abs(p.hamiltonian - r.hamiltonian) for p, r in pairs]
    owners = [
        np.repeat(np.arange(r.n_atoms), DEF2_SVP.orbitals_per_atom(r.atomic_numbers))
        for r in wanted
    ]
    diagonal = [m[o[:, None] == o] for m, o in zip(matrices, owners, strict=True)]

    found = {name: estimate.value for name, estimate in score().metrics.items()}

    assert list(found) == [
        name
        for name, metric in METRICS.items()
        if metric.field != "overlap" and not name.startswith(("scf_", "density_energy"))
    ]
    expected = {
        "energy_mae": np.mean(energy),
        "energy_mae_per_atom": np.mean(
            [e / r.n_atoms for e, r in zip(energy, wanted, strict=True)]
        ),
        "forces_mae": np.concatenate([np.abs(p.forces - r.forces) for p, r in pairs]).mean(),
        "hamiltonian_mae": np.mean([m.mean() for m in matrices]),
        "hamiltonian_mae_over_elements": np.concatenate([m.ravel() for m in matrices]).mean(),
        "hamiltonian_diagonal_mae": np.mean([d.mean() for d in diagonal]),
        "hamiltonian_diagonal_mae_over_elements": np.concatenate(diagonal).mean(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-10), name
    assert 0.9 < found["forces_cosine"] < 1


def test_perfect_predictions_score_zero_and_similarities_of_one(score, wanted):
    metrics = score(wanted).metrics

    for name, found in metrics.items():
        if name.endswith("_share"):
            assert found.value is None, name  # no error to be shared
        else:
            similar = name in {"forces_cosine", "wavefunction_similarity_published_qh9"}
            assert found.value == pytest.approx(float(similar), abs=1e-11), name


def test_the_order_and_the_batches_of_the_file_do_not_matter(score, guesses, monkeypatch):
    before = score().metrics

    monkeypatch.setattr("nabladft.benchmark.evaluation._BATCH", 4)
    after = score(guesses[::-1]).metrics

    for name, found in before.items():
        assert after[name].value == pytest.approx(found.value, rel=1e-12), name
        assert after[name].ci_high == pytest.approx(found.ci_high, rel=1e-12), name


@pytest.mark.parametrize("order", ["psi4", "pyscf", "orca"])
def test_orbital_orders_are_converted_to_that_of_the_data(score, source, split, guesses, order):
    moved = [
        record.replace(
            hamiltonian=reorder_orbitals(
                record.hamiltonian, record.atomic_numbers, source="ascending", target=order
            ),
            orbital_order=order,
        )
        for record in guesses
    ]
    info = dataclasses.replace(info_for(source, split, PART), orbital_order=order)

    found, expected = score(moved, info=info).metrics, score().metrics

    for name in expected:
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-12), name


def test_errors_are_told_by_size_and_by_element(score, wanted, guesses):
    results = score(fields=("forces",))

    by_size = {(b.smallest, b.largest): b.metrics["forces_mae"] for b in results.by_size}
    errors = [np.abs(p.forces - r.forces) for p, r in zip(guesses, wanted, strict=True)]
    three = [e for e, r in zip(errors, wanted, strict=True) if r.n_atoms == 3]
    hydrogen = [e[r.atomic_numbers == 1] for e, r in zip(errors, wanted, strict=True)]
    assert sorted(by_size) == [(2, 2), (3, 3), (4, 4)]
    assert by_size[3, 3].value == pytest.approx(np.mean(three), rel=1e-12)
    assert sorted(results.by_element["forces_mae"]) == ["Cl", "H", "N", "S"]
    assert results.by_element["forces_mae"]["H"] == pytest.approx(
        np.concatenate(hydrogen).mean(), rel=1e-12
    )


def test_many_sizes_share_six_bins(score):
    records = random_records(seed=3)
    source = MemorySource(records)
    info = dataclasses.replace(info_for(source), model="all")

    results = score(records, info=info, data=source, split=None)

    assert len(results.by_size) == 4
    assert [b.smallest for b in results.by_size] == [2, 3, 4, 5]
    assert sum(b.metrics["energy_mae"].n_conformations for b in results.by_size) == len(records)


def test_only_what_is_predicted_is_scored(score):
    assert list(score(fields=("energy",)).metrics) == [
        "energy_mae",
        "energy_mae_per_atom",
        "relative_energy_mae",
    ]


def test_provenance_is_in_the_results(score, source, split, tmp_path):
    results = score()

    assert (results.model, results.dataset, results.part) == ("random", "memory", PART)
    assert results.data_hash == source.data_hash
    assert results.split_hash == split.sha256
    assert results.predictions_sha256 == file_sha256(tmp_path / "p.h5")
    assert (results.n_conformations, results.n_molecules) == (9, 3)


@pytest.mark.parametrize(
    ("stated", "found"), [(0.25, 0.25), (None, None), ("fast", None), (-1.0, None), (True, None)]
)
def test_the_time_of_a_prediction_is_taken_from_the_file_if_it_makes_sense(
    score, source, split, stated, found
):
    info = info_for(source, split, PART, details={"prediction_seconds": stated})

    assert score(info=info, fields=("energy",)).prediction_seconds == found


def test_results_survive_the_file_and_carry_units(score, tmp_path):
    results = score()

    write_results(results, tmp_path / "folder" / "r.json")

    content = json.loads((tmp_path / "folder" / "r.json").read_text())
    assert read_results(tmp_path / "folder" / "r.json") == results
    assert content["metrics"]["forces_mae"]["unit"] == "hartree/bohr"
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "is x version 2"),
        ({"format_version": 9}, "nabladft-results version 9"),
        ({"part2": 1}, "is not a results file"),
        ({"metrics": {"energy_mae": {"value": 1, "unit": "eV"}}}, "must be in hartree, got eV"),
    ],
)
def test_foreign_results_are_refused(score, tmp_path, change, message):
    content = json.loads(results_to_json(score())) | change
    (tmp_path / "r.json").write_text(json.dumps(content))

    with pytest.raises(FormatError, match=message):
        read_results(tmp_path / "r.json")


def test_progress_counts_conformations(score):
    seen = []

    score(progress=seen.append)

    assert seen == [9]


def test_the_part_is_the_one_the_file_names_unless_said(score, source, split):
    info = info_for(source, split)

    with pytest.raises(InputError, match="does not say which part it predicts"):
        score(info=info)
    assert score(info=info, part=PART).part == PART
    with pytest.raises(PredictionsError, match="predicts part 'test_structures', not 'train'"):
        score(part="train")
    with pytest.raises(UnknownNameError, match="Did you mean 'test_structures'"):
        score(info=info, part="test_structure")


def test_missing_and_extra_conformations_are_refused(score, guesses, records):
    with pytest.raises(PredictionsError, match=r"1 of the 9 .*part 'test_structures'.* missing"):
        score(guesses[:-1])
    with pytest.raises(PredictionsError, match="1 of 10 conformations do not belong to part"):
        score([*guesses, records[0]])


def test_other_data_and_other_splits_are_refused(score, source, split):
    info = info_for(source, split, PART)

    with pytest.raises(PredictionsError, match="made for data 'memory' with hash 000"):
        score(info=dataclasses.replace(info, data_hash="0" * 64))
    with pytest.raises(PredictionsError, match=r"with hash 111.*may have seen"):
        score(info=dataclasses.replace(info, split_hash="1" * 64))
    with pytest.raises(SplitError, match="was made for data"):
        score(split=dataclasses.replace(split, data_hash="2" * 64))
    with pytest.raises(InputError, match="was made with split 'memory'; give that split"):
        score(split=None)
    with pytest.raises(InputError, match="Part 'train' of which split"):
        score(info=info_for(source), split=None, part="train")


def test_atoms_in_another_order_are_refused(score, guesses):
    water = next(r for r in guesses if r.molecule_id == 5)
    turned = water.replace(atomic_numbers=water.atomic_numbers[::-1])
    others = [r for r in guesses if r is not water]

    with pytest.raises(PredictionsError, match=r"molecule_id 5.*\['H', 'H', 'S'\].*keep the order"):
        score([*others, turned], fields=("forces",))


def test_another_number_of_atoms_is_refused(score, guesses):
    first = guesses[0]
    smaller = first.replace(
        atomic_numbers=first.atomic_numbers[:1],
        positions=first.positions[:1],
        forces=first.forces[:1],
        hamiltonian=None,
    )

    with pytest.raises(PredictionsError, match="has 1 atoms in the file and 2 in the data"):
        score([smaller.replace(hamiltonian=np.zeros((18, 18))), *guesses[1:]], fields=("forces",))


def test_nan_stops_the_scoring(score, tmp_path, source, split):
    import h5py

    score()
    with h5py.File(tmp_path / "p.h5", "a") as file:
        file["forces"][4, 1] = np.nan

    with pytest.raises(PredictionsError, match="forces holds 1 values that are not finite"):
        evaluate(tmp_path / "p.h5", source, split=split)


def test_labels_that_the_data_lack_are_refused(score, records, split):
    bare = MemorySource([record.replace(forces=None) for record in records])

    with pytest.raises(MissingFieldError, match="does not hold 'forces'"):
        score(data=bare)


def test_no_torch_is_needed():
    import subprocess
    import sys

    code = (
        "import sys, nabladft.benchmark.evaluation, nabladft.benchmark.tables, "
        "nabladft.predictions; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def real():
    """A few real conformations: what is random can be in any order or unit."""
    found = nabladft.open("nano").read(
        range(0, 300, 50), fields=["energy", "forces", "hamiltonian"]
    )
    return [record.replace(formation_energy=None) for record in found]


@pytest.fixture
def score_real(tmp_path, real):
    """Score matrices that are the true ones after a change."""

    def run(change, *, name="hamiltonian", data=real, **stated):
        source = MemorySource(data)
        info = dataclasses.replace(info_for(source), **stated)
        with PredictionsWriter(tmp_path / "real.h5", info) as writer:
            for record in data:
                matrix = change(record)
                writer.append(
                    keys=[record.key],
                    atomic_numbers=record.atomic_numbers,
                    n_atoms=[record.n_atoms],
                    n_orbitals=[len(matrix)],
                    **{name: pack_lower(matrix)},
                )
        return evaluate(tmp_path / "real.h5", source)

    return run


def in_psi4_order(record):
    return reorder_orbitals(
        record.hamiltonian, record.atomic_numbers, source="ascending", target="psi4"
    )


def test_orbital_metrics_equal_an_independent_solution(score_real, real):
    rng = np.random.default_rng(2)
    wrong = {}
    for record in real:
        noise = 0.01 * rng.normal(size=record.hamiltonian.shape)
        wrong[record.key] = record.hamiltonian + noise + noise.T

    found = {k: m.value for k, m in score_real(lambda r: wrong[r.key]).metrics.items()}

    gaps, occupied = [], []
    for record in real:
        S = overlap_matrix(record.atomic_numbers, record.positions)
        n = int(record.atomic_numbers.sum()) // 2
        error = eigh(wrong[record.key], S)[0] - eigh(record.hamiltonian, S)[0]
        gaps.append(abs(error[n] - error[n - 1]))
        occupied.append(np.abs(error[:n]).mean())
    assert found["gap_mae"] == pytest.approx(np.mean(gaps), rel=1e-7)
    assert found["occupied_orbital_energies_mae"] == pytest.approx(np.mean(occupied), rel=1e-7)
    assert 0 < found["occupied_subspace_distance"] < found["occupied_subspace_largest_sine"] < 1
    shares = [value for name, value in found.items() if name.endswith("_share")]
    assert sum(shares) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (in_psi4_order, OrbitalOrderError, "order 'ascending', but look like psi4 or orca"),
        (lambda r: 27.2114 * r.hamiltonian, UnitError, "looks like eV"),
        (lambda r: -r.hamiltonian, UnitError, "looks like minus hartree"),
    ],
    ids=["order", "eV", "sign"],
)
def test_mistaken_predictions_are_named_with_their_file(score_real, change, error, message):
    with pytest.raises(error, match=message) as caught:
        score_real(change)

    assert "(predictions real.h5" in caught.value.__notes__[-1]


def test_mistaken_data_are_named_with_their_name(score_real, real):
    wrong = [record.replace(hamiltonian=in_psi4_order(record)) for record in real]

    with pytest.raises(OrbitalOrderError, match="look like psi4") as caught:
        score_real(lambda r: r.hamiltonian, data=wrong, orbital_order="psi4")

    assert "(data 'memory'" in caught.value.__notes__[-1]


def test_declared_orders_are_no_mistake(score_real):
    metrics = score_real(in_psi4_order, orbital_order="psi4").metrics

    assert metrics["hamiltonian_mae"].value == 0


@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_overlaps_are_scored_against_those_of_the_geometry(score_real, shift):
    def change(record):
        S = overlap_matrix(record.atomic_numbers, record.positions)
        return S + shift * (1 - np.eye(len(S)))

    metrics = score_real(change, name="overlap").metrics

    assert list(metrics) == ["overlap_mae", "overlap_mae_over_elements"]
    assert metrics["overlap_mae"].value == pytest.approx(shift, rel=0.05, abs=1e-12)


def test_pairs_of_elements_and_of_degrees_are_told_apart(score, wanted, guesses):
    results = score(fields=("hamiltonian",))

    errors = [np.abs(p.hamiltonian - r.hamiltonian) for p, r in zip(guesses, wanted, strict=True)]
    hydrogen_chloride = [e[:18, 18:] for e, r in zip(errors, wanted, strict=True) if r.n_atoms == 2]
    d_d = [e[13:18, 13:18] for e, r in zip(errors, wanted, strict=True) if r.n_atoms == 2]
    pairs = results.by_element_pair["hamiltonian_offdiagonal_mae_over_elements"]
    degrees = results.by_degrees["hamiltonian_mae_over_elements"]
    assert list(pairs) == ["H-H", "H-N", "H-S", "H-Cl"]
    assert pairs["H-Cl"] == pytest.approx(np.mean(hydrogen_chloride), rel=1e-10)
    assert list(degrees) == ["s-s", "s-p", "s-d", "p-p", "p-d", "d-d"]
    others = [e[9:14, 9:14] for e, r in zip(errors, wanted, strict=True) if r.n_atoms == 4]
    sulphur = [e[13:18, 13:18] for e, r in zip(errors, wanted, strict=True) if r.n_atoms == 3]
    assert degrees["d-d"] == pytest.approx(np.mean([*d_d, *others, *sulphur]), rel=1e-10)


def test_open_shells_have_no_orbital_metrics(score_real):
    radical = Conformation(
        molecule_id=1,
        conformation_id=0,
        atomic_numbers=np.array([9]),
        positions=np.zeros((1, 3)),
        hamiltonian=np.diag(np.repeat([-24.8, -4.4, -1.7, -0.2, -0.1, 3.1], [1, 1, 1, 3, 3, 5])),
        orbital_order="ascending",
        basis_set="def2-svp",
    )

    metrics = score_real(lambda r: r.hamiltonian, data=[radical]).metrics

    assert metrics["hamiltonian_mae"].value == 0
    assert metrics["gap_mae"].value is None
    assert metrics["gap_mae"].n_conformations == 0
    assert metrics["mulliken_charges_mae"].value is None
