"""Losses of orbitals: against numpy, where they are zero, what they do not depend on, refusals."""

import numpy as np
import pytest
import torch

import nabladft
from nabladft.chemistry.electronic import homo_lumo, orbital_energies_and_coefficients
from nabladft.data import HamiltonianDataset
from nabladft.data.augmentation import random_rotations, rotate
from nabladft.data.blocks import blocks_from_dense, dense_from_blocks
from nabladft.data.electronic import electrons_of
from nabladft.errors import ConfigError, RunError
from nabladft.splits import Split
from nabladft.training.config import OrbitalLossConfig, TargetConfig, read_training
from nabladft.training.losses import Objective
from nabladft.training.orbital_losses import OrbitalObjective, alignment_loss
from nabladft.training.train import train

ROWS = [0, 40, 90]
ENERGY = OrbitalLossConfig(energy_weight=1.0)
ALIGNMENT = OrbitalLossConfig(alignment_weight=1.0)


@pytest.fixture
def batch():
    data = HamiltonianDataset(
        "nano", rows=ROWS, fields=("hamiltonian", "overlap"), dtype=torch.float64
    )
    return data.collate(data.__getitems__(range(len(ROWS))))


def solved(batch, values):
    """Energies, coefficients, overlap and number of occupied orbitals of each conformation."""
    H = dense_from_blocks(values, batch.blocks)
    S = dense_from_blocks(batch.labels["overlap"], batch.blocks)
    occupied = (electrons_of(batch) // 2).tolist()
    return [
        (*orbital_energies_and_coefficients(h, s), s, n)
        for h, s, n in zip(H, S, occupied, strict=True)
    ]


def shifted(batch, shifts):
    """Labels in which orbital i of conformation k has moved by shifts[k][i], and no other thing."""
    moved = []
    for (_, C, S, _), h, shift in zip(
        solved(batch, batch.labels["hamiltonian"]),
        dense_from_blocks(batch.labels["hamiltonian"], batch.blocks),
        shifts,
        strict=True,
    ):
        SC = S @ torch.tensor(C)
        moved.append(h + SC @ torch.diag(shift) @ SC.T)
    return blocks_from_dense(moved, batch.blocks)


def perturbed(batch, scale, seed=0):
    labels = batch.labels["hamiltonian"]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(labels.shape, generator=generator, dtype=labels.dtype)
    symmetric = [0.5 * (m + m.T) for m in dense_from_blocks(noise, batch.blocks)]
    return labels + scale * blocks_from_dense(symmetric, batch.blocks)


@pytest.mark.parametrize("config", [ENERGY, ALIGNMENT], ids=["energy", "alignment"])
def test_the_label_itself_has_no_loss(batch, config):
    loss = OrbitalObjective(config).loss(batch.labels["hamiltonian"], batch)

    assert float(loss) == pytest.approx(0.0, abs=1e-12)


def distances(energies, n_occupied):
    """From the middle of the gap, none below 0.1 hartree."""
    middle = energies[n_occupied - 1 : n_occupied + 1].mean()
    return np.maximum(abs(energies - middle), 0.1)


def small_shifts(batch, rng):
    """So small that no two orbitals change places."""
    return [torch.tensor(1e-5 * rng.normal(size=n)) for n in batch.blocks.n_orbitals]


def test_energies_of_orbitals_that_only_move_cost_what_the_lowest_move(batch, rng):
    shifts = small_shifts(batch, rng)

    loss = OrbitalObjective(ENERGY).loss(shifted(batch, shifts), batch)

    ends = (electrons_of(batch) // 2 + ENERGY.n_virtual).tolist()
    counted = torch.cat([shift[:end] for shift, end in zip(shifts, ends, strict=True)])
    assert float(loss) == pytest.approx(float(counted.abs().mean()), rel=1e-4)


def test_orbitals_that_only_move_are_misaligned_by_how_near_to_the_gap_they_are(batch, rng):
    shifts = small_shifts(batch, rng)

    loss = OrbitalObjective(ALIGNMENT).loss(shifted(batch, shifts), batch)

    expected = [
        abs(shift.numpy()) / distances(energies, n)
        for shift, (energies, _, _, n) in zip(
            shifts, solved(batch, batch.labels["hamiltonian"]), strict=True
        )
    ]
    assert float(loss) == pytest.approx(np.concatenate(expected).mean(), rel=1e-4)


def test_reported_errors_are_those_that_numpy_finds(batch):
    values = perturbed(batch, 1e-3)

    found = OrbitalObjective(OrbitalLossConfig()).absolute_errors(values, batch)

    occupied, homos, lumos, gaps = [], [], [], []
    labels = batch.labels["hamiltonian"]
    for (e, _, _, n), (r, *_) in zip(solved(batch, values), solved(batch, labels), strict=True):
        occupied.extend(abs(e - r)[:n])
        (homo, lumo), (r_homo, r_lumo) = homo_lumo(e, 2 * n), homo_lumo(r, 2 * n)
        homos.append(abs(homo - r_homo))
        lumos.append(abs(lumo - r_lumo))
        gaps.append(abs(lumo - homo - r_lumo + r_homo))
    expected = [[sum(errors), len(errors)] for errors in (occupied, homos, lumos, gaps)]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_alignment_is_the_scaled_error_between_reference_orbitals(batch):
    values = perturbed(batch, 1e-3)

    loss = OrbitalObjective(ALIGNMENT).loss(values, batch)

    norms = []
    for (e, C, _, n), h in zip(
        solved(batch, batch.labels["hamiltonian"]),
        dense_from_blocks(values, batch.blocks),
        strict=True,
    ):
        d = distances(e, n)
        scaled = (C.T @ h.numpy() @ C - np.diag(e)) / np.sqrt(np.outer(d, d))
        norms.extend(np.linalg.norm(scaled, axis=1))
    assert float(loss) == pytest.approx(np.mean(norms), rel=1e-7)


def test_alignment_of_two_orbitals_by_hand():
    # The middle of the gap is 0; the third orbital is padding. Scaled, the errors are 0.3 / 0.5 and
    # -0.1 / sqrt(0.5 * 2.0), and -0.1 again and -0.4 / 2.0.
    errors = torch.tensor([[[0.3, -0.1, 0.0], [-0.1, -0.4, 0.0], [0.0, 0.0, 0.0]]])
    energies = torch.tensor([[-0.5, 2.0, 0.0]])
    is_orbital = torch.tensor([[True, True, False]])

    loss = alignment_loss(errors, energies, is_orbital, torch.tensor([0.0]))

    assert float(loss) == pytest.approx((np.hypot(0.6, 0.1) + np.hypot(0.1, 0.2)) / 2)


def test_alignment_below_one_leaves_the_number_of_orbitals_below_the_gap(rng):
    energies = np.array([-2.0, -1.0, 1.0, 1.5, 3.0])
    d = abs(energies)
    noise = rng.normal(size=(5, 5))
    scaled = 0.99 * (noise + noise.T) / np.linalg.norm(noise + noise.T, ord=2)

    moved = np.linalg.eigvalsh(np.diag(energies) + scaled * np.sqrt(np.outer(d, d)))

    assert (moved < 0).sum() == 2


@pytest.mark.parametrize("config", [ENERGY, ALIGNMENT], ids=["energy", "alignment"])
def test_gradients_are_those_of_finite_differences(batch, config):
    objective = OrbitalObjective(config)
    values = perturbed(batch, 1e-3).requires_grad_()
    direction = perturbed(batch, 1e-7, seed=1) - batch.labels["hamiltonian"]

    objective.loss(values, batch).backward()

    ends = [float(objective.loss(values.detach() + k * direction, batch)) for k in (1, -1)]
    assert float(values.grad @ direction) == pytest.approx((ends[0] - ends[1]) / 2, rel=1e-4)


@pytest.mark.parametrize("config", [ENERGY, ALIGNMENT], ids=["energy", "alignment"])
def test_turning_the_molecules_changes_nothing(batch, config):
    # The same objective for both: orbitals kept for one orientation are not used for another.
    objective = OrbitalObjective(config)
    batch.labels["hamiltonian"], values = perturbed(batch, 1e-3), batch.labels["hamiltonian"]
    rotations = random_rotations(len(ROWS), torch.Generator().manual_seed(1))
    turned = rotate(batch, rotations)
    batch_of_values = type(batch)(**{**vars(batch), "labels": {"hamiltonian": values}})
    turned_values = rotate(batch_of_values, rotations).labels["hamiltonian"]

    here, there = objective.loss(values, batch), objective.loss(turned_values, turned)

    assert float(there) == pytest.approx(float(here), rel=1e-9)


def test_reference_orbitals_are_computed_once(batch):
    objective = OrbitalObjective(ALIGNMENT)
    values = perturbed(batch, 1e-3)
    first = objective.loss(values, batch)
    batch.labels["overlap"].zero_()  # of which there would be no orbitals

    again = objective.loss(values, batch)

    assert torch.equal(again, first)


def test_single_precision_agrees_with_double(batch):
    values = perturbed(batch, 1e-3)
    labels = {name: label.float() for name, label in batch.labels.items()}
    narrow = type(batch)(**{**vars(batch), "labels": labels})
    config = OrbitalLossConfig(energy_weight=1.0, alignment_weight=1.0)

    wide = OrbitalObjective(config).loss(values, batch)
    loss = OrbitalObjective(config).loss(values.float(), narrow)

    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(wide), rel=1e-2)


def test_the_losses_are_added_to_that_of_the_blocks(batch):
    values = perturbed(batch, 1e-3)
    both = OrbitalLossConfig(energy_weight=2.0, alignment_weight=3.0)

    def loss(config):
        return float(Objective({"hamiltonian": TargetConfig()}, config).loss(predicted, batch))

    predicted = {"hamiltonian": values}
    parts = [float(OrbitalObjective(config).loss(values, batch)) for config in (ENERGY, ALIGNMENT)]
    assert loss(both) == pytest.approx(loss(None) + 2.0 * parts[0] + 3.0 * parts[1])


def test_the_score_counts_occupied_orbital_energies(batch):
    values = perturbed(batch, 1e-3)
    config = OrbitalLossConfig(validation_weight=5.0)
    objective = Objective({"hamiltonian": TargetConfig(validation_weight=2.0)}, config)

    metrics = objective.summarise(objective.absolute_errors({"hamiltonian": values}, batch))

    assert list(objective.fields) == ["hamiltonian", "overlap"]
    expected = 2.0 * metrics["hamiltonian_mae"] + 5.0 * metrics["orbital_energy_mae"]
    assert metrics["score"] == pytest.approx(expected)
    assert {"homo_mae", "lumo_mae", "gap_mae"} < set(metrics)


def test_a_prediction_that_is_not_finite_is_divergence(batch):
    values = batch.labels["hamiltonian"].clone()
    values[7] = torch.nan

    with pytest.raises(RunError, match=r"diverged.*learning_rate"):
        OrbitalObjective(ALIGNMENT).loss(values, batch)


def test_an_unknown_option_is_refused_with_the_nearest():
    table = {"loss": {"orbitals": {"alignment_wieght": 1.0}}}

    with pytest.raises(ConfigError, match="Did you mean 'alignment_weight'"):
        read_training(table, place="here")


def test_orbitals_of_a_model_without_hamiltonians_are_refused():
    config = read_training({"loss": {"orbitals": {}}}, place="here")

    with pytest.raises(ConfigError, match="orbitals of a hamiltonian, which the model does not"):
        config.targets(frozenset({"formation_energy"}))


LEVEL = '''
"""Every orbital has one energy, and none interacts with another."""
from dataclasses import dataclass
import torch
from nabladft.data.blocks import diagonal_mask


@dataclass(frozen=True)
class Config:
    pass


class Level(torch.nn.Module):
    predicts = frozenset({"hamiltonian"})
    orbital_order = "ascending"
    basis_set = "def2-svp"

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(self, batch):
        row, column = batch.blocks.value_position
        return {"hamiltonian": self.level * (diagonal_mask(batch.blocks) & (row == column))}


def build(config):
    return Level()
'''


def test_a_run_reports_orbital_energies(tmp_path, monkeypatch):
    monkeypatch.setattr("nabladft.training.train.plot_learning_curve", lambda *_, **__: None)
    (tmp_path / "level").mkdir()
    (tmp_path / "level" / "model.py").write_text(LEVEL)
    (tmp_path / "level" / "config.toml").write_text("[training]\nmax_epochs = 1\n")
    source = nabladft.open("nano")
    keys = source.keys
    parts = {"train": keys[:2], "validation": keys[2:3], "test_structures": keys[200:201]}
    split = Split(name="few", dataset="nano", data_hash=source.data_hash, parts=parts)

    result = train(
        tmp_path / "level",
        source,
        split,
        run_folder=tmp_path / "run",
        overrides=["training.loss.orbitals.energy_weight=1.0"],
        progress=False,
    )

    best = result.best
    assert best["orbital_energy_mae"] > 0
    assert best["score"] == pytest.approx(best["hamiltonian_mae"] + best["orbital_energy_mae"])
    assert "[training.loss.orbitals]" in (tmp_path / "run" / "config.toml").read_text()
