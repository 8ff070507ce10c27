"""Leaderboards to build sites of: real labels of nano with known errors, scored by `submit`.

They are made for these tests and stand nowhere else; no model is behind them.
"""

from __future__ import annotations

import csv
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


def add(board, wanted, error, *, milliseconds=1.0, source=None, split=None):
    """Score predictions whose error is known, and write the entry into a leaderboard."""
    source = source or nabladft.open("nano")
    split = split or read_split("nano")
    task = wanted.task
    folder = board.parent / f"{board.name}-predictions" / f"{task}-{wanted.name}"
    folder.mkdir(parents=True)
    for seed in wanted.training.seeds or (None,):
        for part in PARTS:
            rng = np.random.default_rng([len(wanted.name), seed or 0, len(part)])
            keys = split.part(part)
            fields = ["energy", "forces"] if task == "energy" else ["hamiltonian"]
            records = source.read(source.rows_of(keys), fields=fields)
            info = PredictionsInfo(
                dataset=source.info.name,
                data_hash=source.data_hash,
                model=wanted.title,
                split=split.name,
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
    return write_submission(submit([folder], wanted, source=source, split=split), board)


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


#: Texts that would run, break out, or break the layout if they were not only text.
SCRIPT = "<script>window.ran = 1</script>"
IMAGE = '"><img src=x onerror="window.ran = 1">'
LONG_WORD = "W" * 990
TEMPLATE = "{{ 7 * 7 }}{% raw %}</script><!--"
FORMULA = '=HYPERLINK("https://example.org","x")'
BIDI = "GemNet \u202e\u2066txt.exe"


def hostile_entry():
    """Make an entry that is against nobody's schema and still means no good."""
    return entry(
        "hostile",
        title=SCRIPT,
        who=Who(authors=(IMAGE, FORMULA, "W" * 100), affiliations=(TEMPLATE, "W" * 200)),
        description=f"{LONG_WORD}\n{SCRIPT}"[:1000],
        licence="javascript:alert(1)",
        paper="https://example.org/?q=javascript:alert(1)&x=(1)",
        data=("nano", IMAGE),
        hardware=f"{TEMPLATE} {'W' * 60}",
    )


def add_published(board):
    """Put the published rows of the repository beside the entries, and a hostile one."""
    shutil.copytree(board_folder() / "published", board / "published")
    with (board / "published" / "results.csv").open("a", encoding="utf-8", newline="") as file:
        row = ["energy", "energy_mae", "hartree", BIDI, SCRIPT, "test_scaffolds", "0.0001", ""]
        csv.writer(file, lineterminator="\n").writerow([*row, "helm", f"{IMAGE} {LONG_WORD}"])


def full_board(board, *, source, split):
    """Make a leaderboard with everything that a page can show.

    Args:
        board: Folder to make it in.
        source: Small data with Hamiltonians; energies are those of nano.
        split: Split of ``source``.
    """
    nothing_learned = {"n_parameters": 0, "data": (), "n": 0, "hours": 0.0, "subset": "none"}
    add(
        board,
        entry("isolated_atoms-nano", title="isolated atoms", seeds=(), **nothing_learned),
        nothing,
        milliseconds=0.02,
    )
    add(board, entry("careful-nano", title="Careful", seeds=(1, 2)), energy_error(2e-3))
    add(
        board,
        entry("hasty-nano", title="Hasty", n_parameters=52_000, hours=0.05, n=40, subset="tiny"),
        energy_error(6e-3),
        milliseconds=0.2,
    )
    add(board, hostile_entry(), energy_error(4e-3))
    for name, scale in (("initial_guess-memory", 2e-2), ("blocks", 2e-3)):
        add(
            board,
            entry(name, "hamiltonian", title=name.partition("-")[0].replace("_", " ")),
            hamiltonian_error(scale),
            milliseconds=8.0,
            source=source,
            split=split,
        )
    add_published(board)
    return board


def _orbitals(records):
    return [len(record.hamiltonian) for record in records]
