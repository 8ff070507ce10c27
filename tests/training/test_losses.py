"""Losses and errors against the same written with numpy."""

import numpy as np
import pytest
import torch

from nabladft.data.blocks import block_layout, dense_from_blocks, symmetrise_diagonal
from nabladft.errors import ModelError, RunError
from nabladft.testing.molecules import MOLECULES, batch_of
from nabladft.training.config import TargetConfig
from nabladft.training.losses import Objective, reduce_errors


def mean(values, weights):
    return (weights * values).sum() / weights.sum()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mse", lambda e, w: mean(e**2, w)),
        ("mae", lambda e, w: mean(abs(e), w)),
        ("mse+mae", lambda e, w: mean(e**2 + abs(e), w)),
        ("rmse+mae", lambda e, w: np.sqrt(mean(e**2, w)) + mean(abs(e), w)),
        ("huber", lambda e, w: mean(np.where(abs(e) < 0.5, e**2 / 2, abs(e) / 2 - 0.125), w)),
    ],
)
def test_every_kind_is_what_its_formula_says(kind, expected, rng):
    errors, weights = rng.normal(size=50), rng.uniform(1, 2, size=50)

    loss = reduce_errors(torch.tensor(errors), torch.tensor(weights), kind, huber_delta=0.5)

    assert float(loss) == pytest.approx(expected(errors, weights), rel=1e-12)


def test_the_root_has_a_finite_gradient_at_zero_error():
    errors = torch.zeros(3, requires_grad=True)

    reduce_errors(errors, None, "rmse+mae", huber_delta=1.0).backward()

    assert torch.isfinite(errors.grad).all()


def energy_batch():
    batch = batch_of(MOLECULES, dtype=torch.float64)
    batch.labels["formation_energy"] = torch.arange(5.0, dtype=torch.float64)
    batch.labels["forces"] = torch.zeros_like(batch.positions)
    return batch


def test_per_atom_divides_energy_errors_by_the_number_of_atoms():
    batch = energy_batch()
    predicted = {"formation_energy": torch.zeros(5, dtype=torch.float64)}
    objective = Objective({"formation_energy": TargetConfig(kind="mae", per_atom=True, weight=2.0)})

    loss = objective.loss(predicted, batch)

    n_atoms = np.array([3, 3, 5, 4, 6])
    assert float(loss) == pytest.approx(2.0 * np.mean(np.arange(5) / n_atoms))


def test_errors_are_means_per_conformation_and_per_component():
    batch = energy_batch()
    objective = Objective(
        {"formation_energy": TargetConfig(), "forces": TargetConfig(validation_weight=3.0)}
    )
    forces = torch.zeros_like(batch.positions)
    forces[0, 0] = 6.3
    predicted = {"formation_energy": torch.zeros(5), "forces": forces}

    metrics = objective.summarise(objective.absolute_errors(predicted, batch))

    assert metrics["formation_energy_mae"] == pytest.approx(2.0)
    assert metrics["forces_mae"] == pytest.approx(6.3 / (21 * 3))
    assert metrics["score"] == pytest.approx(2.0 + 3.0 * 6.3 / 63)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mse", lambda e: np.mean(e**2)),
        ("mse+mae", lambda e: np.mean(e**2) + np.mean(abs(e))),
        ("rmse+mae", lambda e: np.sqrt(np.mean(e**2)) + np.mean(abs(e))),
    ],
)
def test_hamiltonian_errors_are_those_of_the_full_matrices(kind, expected, rng):
    batch = batch_of(MOLECULES[:3], dtype=torch.float64)
    layout = block_layout(batch.atomic_numbers, batch.atom_offsets, "def2-svp", "ascending")
    batch = type(batch)(**{**vars(batch), "blocks": layout})
    batch.labels["hamiltonian"] = torch.zeros(layout.n_values, dtype=torch.float64)
    values = symmetrise_diagonal(torch.tensor(rng.normal(size=layout.n_values)), layout)
    objective = Objective({"hamiltonian": TargetConfig(kind=kind)})

    loss = objective.loss({"hamiltonian": values}, batch)
    metrics = objective.summarise(objective.absolute_errors({"hamiltonian": values}, batch))

    dense = np.concatenate([matrix.numpy().ravel() for matrix in dense_from_blocks(values, layout)])
    assert float(loss) == pytest.approx(expected(dense), rel=1e-12)
    assert metrics["hamiltonian_mae"] == pytest.approx(np.mean(abs(dense)), rel=1e-12)


def test_a_prediction_of_another_shape_is_refused():
    objective = Objective({"formation_energy": TargetConfig()})

    with pytest.raises(ModelError, match=r"shape \(4,\); the label has shape \(5,\)"):
        objective.loss({"formation_energy": torch.zeros(4)}, energy_batch())


def test_a_prediction_that_is_absent_is_refused():
    objective = Objective({"forces": TargetConfig()})

    with pytest.raises(ModelError, match="declares 'forces' but returned only"):
        objective.loss({"formation_energy": torch.zeros(5)}, energy_batch())


def test_a_sum_that_is_not_finite_is_divergence():
    objective = Objective({"forces": TargetConfig()})

    with pytest.raises(RunError, match="diverged"):
        objective.summarise(torch.tensor([[np.nan, 3.0]]))
