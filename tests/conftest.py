"""What several tests share: sources in memory, real molecules, paths."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from nabladft.conformation import Conformation
from nabladft.storage.source import ConformationSource, SourceInfo

#: Real published sample files; they stand beside the repository, and users do not have them.
SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "data" / "nabla2dft_sample"


class MemorySource(ConformationSource):
    """A source over a list of records, for tests of what sits above storage."""

    def __init__(self, records, name="memory"):
        self._records = list(records)
        self._name = name

    @property
    def info(self):
        held = [set(record.fields) for record in self._records]
        fields = set.intersection(*held) if held else set()
        first = self._records[0] if self._records else None
        return SourceInfo(
            name=self._name,
            fields=tuple(name for name in (first.fields if first else ()) if name in fields),
            method="wB97X-D/def2-SVP",
            basis_set=first.basis_set if first else None,
            orbital_order=first.orbital_order if first else None,
        )

    def __len__(self):
        return len(self._records)

    def read(self, indices, *, fields=None):
        wanted = self.check_fields(fields)
        blank = {name: None for name in self.info.fields if name not in wanted}
        return [self._records[row].replace(**blank) for row in self.check_rows(indices)]

    @property
    def keys(self):
        return np.array([record.key for record in self._records], dtype=np.int64).reshape(-1, 2)

    @property
    def n_atoms(self):
        return np.array([record.n_atoms for record in self._records], dtype=np.int64)

    @property
    def data_hash(self):
        digest = hashlib.sha256()
        for record in self._records:
            digest.update(repr(record.key).encode())
            digest.update(record.positions.tobytes())
        return digest.hexdigest()


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def published_energy_file():
    """The real published sample of 50 rows."""
    path = SAMPLES / "energy_sample.db"
    if not path.is_file():
        pytest.skip(f"the published sample {path.name} is not on this machine")
    return path


@pytest.fixture
def memory_source():
    """The class, so that a test builds the records it needs."""
    return MemorySource


def displaced(smiles, molecule_id, n_conformations, *, seed=0, spread=0.3):
    """Records of one molecule with random but valid geometries; no labels but the SMILES."""
    from rdkit import Chem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    rng = np.random.default_rng([seed, molecule_id])
    grid = 2.5 * np.stack(np.unravel_index(np.arange(len(numbers)), (4, 4, 4)), axis=1)
    return [
        Conformation(
            molecule_id=molecule_id,
            conformation_id=k,
            atomic_numbers=numbers,
            positions=grid + spread * rng.normal(size=grid.shape),
            smiles=smiles,
        )
        for k in range(n_conformations)
    ]


@pytest.fixture
def data_place(tmp_path, monkeypatch):
    """An empty data folder, and none of the settings of whoever runs the tests."""
    for name in ("NABLADFT_CATALOG", "NABLADFT_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NABLADFT_CONFIG", "")
    folder = tmp_path / "place"
    monkeypatch.setenv("NABLADFT_DATA", str(folder))
    return folder
