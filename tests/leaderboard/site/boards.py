"""Leaderboards to build sites of: real labels of nano with known errors, scored by `submit`.

They are made for these tests and stand nowhere else; no model is behind them.
"""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np

import nabladft
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.packing import pack_lower
from nabladft.leaderboard.board import board_folder
from nabladft.leaderboard.entry import EXAMPLE as ENTRY
from nabladft.leaderboard.entry import ModelCard, TrainingCard, Who, parse_entry
from nabladft.leaderboard.submission import submit, write_submission
from nabladft.predictions import PredictionsInfo, PredictionsWriter
from nabladft.splits import read_split

PARTS = ("test_conformations", "test_structures", "test_scaffolds")
#: How much worse a part is than the one before it.
WORSE = {"test_conformations": 1.0, "test_structures": 1.8, "test_scaffolds": 3.0}


def entry(name, task="energy", *, title=None, seeds=(1,), data=("nano",), n=156, **changes):
    """Make what a person would write."""
    plain = parse_entry(ENTRY, where="example")
    who = changes.pop("who", Who(authors=("Ada Lovelace", "Charles Babbage")))
    card = {
        "description": "Labels of nano with random errors, made for a test.",
        "licence": "MIT",
        "n_parameters": 1_200_000,
        "paper": "https://doi.org/10.1000/182",
        "code": "https://example.org/my-model",
    }
    training = {
        "data": data,
        "seeds": seeds,
        "hardware": "1 x NVIDIA H100",
        "hours": 0.5,
        "subset": "train",
        "n_conformations": n,
    }
    for key in set(changes) & set(training):
        training[key] = changes.pop(key)
    return dataclasses.replace(
        plain,
        name=name,
        title=title or name,
        task=task,
        who=who,
        model=ModelCard(**card | changes),
        training=TrainingCard(**training),
    )


def add(board, wanted, error, *, task="energy", parts=PARTS, milliseconds=1.0):
    """Score predictions whose error is known, and write the entry into a leaderboard."""
    source, split = nabladft.open("nano"), read_split("nano")
    folder = board.parent / f"{board.name}-predictions" / wanted.name
    folder.mkdir(parents=True)
    for seed in wanted.training.seeds or (None,):
        for part in parts:
            rng = np.random.default_rng([len(wanted.name), seed or 0, len(part)])
            keys = split.part(part)
            fields = ["energy", "forces"] if task == "energy" else ["hamiltonian"]
            records = source.read(source.rows_of(keys), fields=fields)
            info = PredictionsInfo(
                dataset="nano",
                data_hash=source.data_hash,
                model=wanted.title,
                split="nano",
                split_hash=split.sha256,
                part=part,
                orbital_order=source.info.orbital_order,
                basis_set=source.info.basis_set,
                details={"prediction_seconds": 1e-3 * milliseconds}
                | ({} if seed is None else {"seed": seed}),
            )
            path = folder / f"predictions-{part}-{seed}.h5"
            with PredictionsWriter(path, info) as writer:
                values = [error(record, WORSE[part], rng) for record in records]
                columns = {
                    name: np.concatenate([np.atleast_1d(one[name]) for one in values])
                    for name in values[0]
                }
                writer.append(
                    keys=keys,
                    atomic_numbers=np.concatenate([r.atomic_numbers for r in records]),
                    n_atoms=[r.n_atoms for r in records],
                    **({} if task == "energy" else {"n_orbitals": _orbitals(records)}),
                    **columns,
                )
    submission = submit([folder], wanted, partial=len(parts) < len(PARTS))
    return write_submission(submission, board)


def nothing(record, worse, rng):
    """Predict what the model that learns nothing predicts."""
    return {
        "energy": isolated_atoms_energy(record.atomic_numbers),
        "forces": np.zeros_like(record.forces),
    }


def energy_error(scale):
    """Disturb energies and forces, larger molecules and heavier atoms more."""

    def run(record, worse, rng):
        spread = worse * scale
        heavy = (1 + record.atomic_numbers / 10)[:, None]
        return {
            "energy": record.energy + spread * record.n_atoms**0.7 * rng.normal(),
            "forces": record.forces + 0.3 * spread * heavy * rng.normal(size=record.forces.shape),
        }

    return run


def hamiltonian_error(scale):
    """Disturb Hamiltonians symmetrically."""

    def run(record, worse, rng):
        noise = worse * scale * rng.normal(size=record.hamiltonian.shape)
        return {"hamiltonian": pack_lower(record.hamiltonian + noise + noise.T)}

    return run


def with_published(board):
    """Put the published rows of the repository beside the entries."""
    shutil.copytree(board_folder() / "published", board / "published")
    return board


def small_board(folder):
    """Three energy models, one of two seeds, and two Hamiltonian models on one part."""
    board = folder / "board"
    add(
        board,
        entry(
            "isolated_atoms-nano",
            title="isolated atoms",
            seeds=(),
            data=(),
            n=0,
            n_parameters=0,
            hours=0.0,
            subset="none",
        ),
        nothing,
        milliseconds=0.02,
    )
    add(board, entry("careful-nano", title="Careful", seeds=(1, 2)), energy_error(2e-3))
    add(
        board,
        entry("hasty-nano", title="Hasty", data=("nano", "QM9"), n_parameters=52_000, hours=0.05),
        energy_error(6e-3),
        milliseconds=0.2,
    )
    scaffolds = ("test_scaffolds",)
    for name, scale in (("initial_guess-nano", 2e-2), ("blocks-nano", 2e-3)):
        add(
            board,
            entry(name, "hamiltonian", title=name.partition("-")[0].replace("_", " ")),
            hamiltonian_error(scale),
            task="hamiltonian",
            parts=scaffolds,
            milliseconds=8.0,
        )
    return with_published(board)


def _orbitals(records):
    return [len(record.hamiltonian) for record in records]
