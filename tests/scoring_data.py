"""Small labelled data with random numbers, a split of them, and predictions with known errors."""

from __future__ import annotations

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.packing import pack_lower
from nabladft.conformation import Conformation
from nabladft.predictions import PredictionsInfo, PredictionsWriter
from nabladft.splits import Split

#: Atoms of the molecules, by molecule_id; sizes 1 to 5, eight elements.
MOLECULES = {
    1: [8, 1, 1],
    2: [6, 1, 1, 1, 1],
    3: [17, 1],
    4: [7, 1, 1, 1],
    5: [16, 1, 1],
    6: [9, 1],
    7: [35, 1],
    8: [6, 8],
}
N_CONFORMATIONS = 3


def random_records(seed=0):
    rng = np.random.default_rng(seed)
    records = []
    for molecule_id, atoms in MOLECULES.items():
        numbers = np.array(atoms)
        n = DEF2_SVP.n_orbitals(numbers)
        for conformation_id in range(N_CONFORMATIONS):
            matrix = rng.normal(size=(n, n))
            records.append(
                Conformation(
                    molecule_id=molecule_id,
                    conformation_id=conformation_id,
                    atomic_numbers=numbers,
                    positions=2 * np.arange(3 * len(atoms)).reshape(-1, 3) + rng.random(3),
                    energy=-100 + rng.normal(),
                    forces=0.1 * rng.normal(size=(len(atoms), 3)),
                    hamiltonian=matrix + matrix.T,
                    orbital_order="ascending",
                    basis_set="def2-svp",
                )
            )
    return records


def split_of(source):
    """Train on 1 and 2; the last conformation of these, molecules 3 to 5, and 6 to 8, for tests."""

    def keys(molecules, conformations=range(N_CONFORMATIONS)):
        return np.array([(m, c) for m in molecules for c in conformations])

    return Split(
        name="memory",
        dataset=source.info.name,
        data_hash=source.data_hash,
        parts={
            "train": keys([1], [0, 1]),
            "validation": keys([2], [0, 1]),
            "test_conformations": keys([1, 2], [2]),
            "test_structures": keys([3, 4, 5]),
            "test_scaffolds": keys([6, 7, 8]),
        },
    )


def info_for(source, split=None, part=None, model="random", **more):
    return PredictionsInfo(
        dataset=source.info.name,
        data_hash=source.data_hash,
        model=model,
        split=split.name if split else None,
        split_hash=split.sha256 if split else None,
        part=part,
        orbital_order=source.info.orbital_order,
        basis_set=source.info.basis_set,
        **more,
    )


def disturbed(record, rng, scale=0.01):
    """A prediction for a record: its labels plus normal errors."""
    error = rng.normal(size=record.hamiltonian.shape)
    return record.replace(
        energy=record.energy + scale * rng.normal(),
        forces=record.forces + scale * rng.normal(size=record.forces.shape),
        hamiltonian=record.hamiltonian + scale * (error + error.T),
    )


def write_predictions(path, records, info, fields=("energy", "forces", "hamiltonian"), batch=2):
    """Write predictions given as records, a few at a time."""
    with PredictionsWriter(path, info) as writer:
        for start in range(0, len(records), batch):
            chunk = records[start : start + batch]
            columns = {
                "energy": [r.energy for r in chunk],
                "forces": np.concatenate([r.forces for r in chunk]),
                "hamiltonian": np.concatenate([pack_lower(r.hamiltonian) for r in chunk]),
            }
            writer.append(
                keys=[r.key for r in chunk],
                atomic_numbers=np.concatenate([r.atomic_numbers for r in chunk]),
                n_atoms=[r.n_atoms for r in chunk],
                n_orbitals=[len(r.hamiltonian) for r in chunk],
                **{name: columns[name] for name in fields},
            )
    return path
