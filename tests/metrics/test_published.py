import numpy as np
import pytest
from scipy.linalg import eigh

import nabladft
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.metrics import (
    compare_orbitals,
    hamiltonian_mae,
    hamiltonian_mae_published_phisnet,
    hamiltonian_mae_published_qhnet,
    wavefunction_similarity_published_qh9,
)


@pytest.fixture
def pairs(rng):
    """Predicted and reference matrices of five sizes; some reference elements are exactly zero."""
    found = []
    for n in (5, 14, 9, 30, 7):
        predicted, reference = rng.normal(size=(2, n, n))
        reference[rng.random((n, n)) < 0.2] = 0
        found.append((predicted, reference))
    return found


def terms_of(pairs):
    return [np.abs(p - r) for p, r in pairs], [np.ones_like(r) for _, r in pairs]


def test_qhnet_rows_are_a_metric_that_divides_by_nonzero_targets(pairs):
    # As a torchmetrics mean absolute error whose count is overridden.
    torch = pytest.importorskip("torch")
    total, count = 0.0, 0
    for predicted, reference in pairs:
        target = torch.from_numpy(reference)
        total += torch.sum(torch.abs(torch.from_numpy(predicted) - target)).item()
        count += int(torch.count_nonzero(target))

    found = hamiltonian_mae_published_qhnet(
        predicted=[p for p, _ in pairs], reference=[r for _, r in pairs]
    )

    assert found.value == pytest.approx(total / count, rel=1e-12)
    assert found.value > hamiltonian_mae(*terms_of(pairs), over_elements=True).value


def test_phisnet_rows_are_a_running_mean_over_batches_of_two(pairs):
    mean = 0.0
    for n_batches, start in enumerate((0, 2, 4), start=1):
        batch = pairs[start : start + 2]
        errors = np.concatenate([np.abs(p - r).ravel() for p, r in batch])
        mean += (errors.mean() - mean) / n_batches

    found = hamiltonian_mae_published_phisnet(*terms_of(pairs))

    assert found.value == pytest.approx(mean, rel=1e-12)


def test_the_three_definitions_agree_for_equal_sizes_without_zeros(rng):
    pairs = [(p, r) for p, r in rng.normal(size=(6, 2, 8, 8))]

    values = [
        hamiltonian_mae(*terms_of(pairs)).value,
        hamiltonian_mae_published_phisnet(*terms_of(pairs)).value,
        hamiltonian_mae_published_qhnet(
            predicted=[p for p, _ in pairs], reference=[r for _, r in pairs]
        ).value,
    ]

    assert values == pytest.approx([values[0]] * 3, rel=1e-12)


def test_phisnet_rows_depend_on_the_sequence_and_ours_do_not(pairs):
    order = [0, 2, 1, 3, 4]
    moved = [pairs[k] for k in order]

    here, there = (
        hamiltonian_mae_published_phisnet(*terms_of(some)).value for some in (pairs, moved)
    )

    assert here != pytest.approx(there, rel=1e-3)
    assert hamiltonian_mae(*terms_of(pairs)).value == pytest.approx(
        hamiltonian_mae(*terms_of(moved)).value, rel=1e-14
    )


def test_similarity_is_the_cosine_of_coefficient_vectors_as_torch_computes_it():
    torch = pytest.importorskip("torch")
    comparisons, expected = [], []
    for k, record in enumerate(nabladft.open("nano").read([10, 200])):
        H = record.hamiltonian
        noise = 0.01 * np.random.default_rng(k).normal(size=H.shape)
        predicted = H + noise + noise.T
        S = overlap_matrix(record.atomic_numbers, record.positions)
        n = int(record.atomic_numbers.sum()) // 2
        C, predicted_C = (
            torch.from_numpy(eigh(matrix, S)[1][:, :n])
            for matrix in (record.hamiltonian, predicted)
        )
        expected.append(torch.cosine_similarity(predicted_C, C, dim=0).abs().mean().item())
        comparisons.append(
            compare_orbitals(predicted=predicted, reference=H, overlap=S, n_electrons=2 * n)
        )

    found = wavefunction_similarity_published_qh9(comparisons)

    np.testing.assert_allclose(found.numerator, expected, rtol=1e-7)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-7)
