"""One predicted Hamiltonian looked at closely, on real labels of nano."""

import numpy as np
import pytest
from scipy.linalg import eigh

import nabladft
from nabladft.benchmark.inspection import inspect_hamiltonian
from nabladft.benchmark.inspection_figure import draw_inspection
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.cli.main import main
from nabladft.errors import InputError, PredictionsError
from tests.scoring_data import disturbed, info_for, write_predictions

SCALE = 1e-3


@pytest.fixture(scope="module")
def nano():
    return nabladft.open("nano")


@pytest.fixture(scope="module")
def records(nano):
    """Two conformations of one small molecule and one of another."""
    keys = nano.keys
    smallest = keys[np.argsort(nano.n_atoms, kind="stable")][0, 0]
    first = keys[keys[:, 0] == smallest][:2]
    other = keys[keys[:, 0] != smallest][:1]
    return nano.read(nano.rows_of(np.concatenate([first, other])))


@pytest.fixture(scope="module")
def predictions(nano, records, tmp_path_factory):
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("predictions") / "predictions.h5"
    wrong = [disturbed(record, rng, scale=SCALE) for record in records]
    return write_predictions(path, wrong, info_for(nano, model="noisy"), fields=["hamiltonian"])


def test_a_perfect_prediction_has_no_error(nano, records, tmp_path):
    path = write_predictions(tmp_path / "p.h5", records[:1], info_for(nano), ["hamiltonian"])

    found = inspect_hamiltonian(path, nano, molecule_id=records[0].molecule_id)

    assert np.abs(found.error).max() == 0
    assert found.metrics["hamiltonian_mae"] == 0
    assert found.metrics["gap_mae"] < 1e-12
    np.testing.assert_allclose(
        found.predicted_energies, found.orbitals.reference_energies, atol=1e-11
    )


def test_orbital_energies_are_those_of_the_predicted_matrix(nano, records, predictions):
    record = records[0]

    found = inspect_hamiltonian(predictions, nano, molecule_id=record.molecule_id)

    overlap = overlap_matrix(record.atomic_numbers, record.positions)
    energies = eigh(record.hamiltonian + found.error, overlap, eigvals_only=True)
    np.testing.assert_allclose(found.predicted_energies, energies, atol=1e-9)
    assert found.conformation_id == record.conformation_id
    assert found.smiles == record.smiles


def test_block_errors_average_to_the_error_of_the_matrix(nano, records, predictions):
    found = inspect_hamiltonian(
        predictions,
        nano,
        molecule_id=records[1].molecule_id,
        conformation_id=records[1].conformation_id,
    )

    weights = np.outer(found.orbitals_per_atom, found.orbitals_per_atom)
    average = np.average(found.block_mae, weights=weights)
    assert average == pytest.approx(found.metrics["hamiltonian_mae"])
    assert average == pytest.approx(np.abs(found.error).mean())


def test_distances_are_those_of_the_geometry(nano, records, predictions):
    record = records[2]

    found = inspect_hamiltonian(predictions, nano, molecule_id=record.molecule_id)

    assert found.distances[0, 1] == pytest.approx(
        np.linalg.norm(record.positions[0] - record.positions[1])
    )


def test_the_picture_is_drawn(nano, records, predictions, tmp_path):
    found = inspect_hamiltonian(predictions, nano, molecule_id=records[0].molecule_id)

    path = draw_inspection(found, tmp_path / "picture.png")

    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_cycles_are_counted_when_asked_for(nano, records, predictions, tmp_path):
    found = inspect_hamiltonian(predictions, nano, molecule_id=records[0].molecule_id, scf="quick")

    assert found.starts.predicted_cycles < found.starts.guess_cycles
    assert draw_inspection(found, tmp_path / "picture.png").is_file()


def test_the_command_prints_numbers_and_the_name_of_the_picture(
    records, predictions, tmp_path, capsys
):
    molecule = records[0].molecule_id

    code = main(
        [
            *("inspect-h", str(predictions), "--data", "nano", "--molecule", str(molecule)),
            *("--out", str(tmp_path)),
        ]
    )

    printed = capsys.readouterr().out
    picture = tmp_path / f"hamiltonian-noisy-{molecule}-{records[0].conformation_id}.png"
    assert code == 0
    assert "LUMO energy MAE" in printed
    assert printed.rstrip().endswith(str(picture))
    assert picture.is_file()


def test_a_molecule_that_is_not_in_the_file_is_refused(nano, predictions):
    with pytest.raises(PredictionsError, match=r"has no molecule_id 999999\. Some that it has: "):
        inspect_hamiltonian(predictions, nano, molecule_id=999999)


def test_a_conformation_that_is_not_in_the_file_is_refused(nano, records, predictions):
    molecule = records[0].molecule_id

    with pytest.raises(PredictionsError, match=f"no conformation_id 77 of molecule_id {molecule}"):
        inspect_hamiltonian(predictions, nano, molecule_id=molecule, conformation_id=77)


def test_a_file_without_hamiltonians_is_refused(nano, records, tmp_path):
    path = write_predictions(tmp_path / "p.h5", records[:1], info_for(nano), ["energy"])

    with pytest.raises(InputError, match=r"predicts energy, no hamiltonian"):
        inspect_hamiltonian(path, nano, molecule_id=records[0].molecule_id)
