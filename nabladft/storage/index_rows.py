"""What an index takes from a shard, or from any source, in pieces of bounded size.

Positions, forces and matrices are not touched where they can be left alone: indexing a plain store
of 26 GB reads one gigabyte of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.storage.derived import isolated_atoms_energies, stored_fields_for
from nabladft.storage.shards import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.storage.flat import Texts
    from nabladft.storage.manifest import Manifest
    from nabladft.storage.source import ConformationSource

    IntArray = NDArray[np.int64]

#: Rows of a shard in memory at once.
SHARD_STEP = 65536
#: Rows of a foreign file, which come with positions, in memory at once.
SOURCE_STEP = 2048


@dataclass(frozen=True, kw_only=True)
class IndexRows:
    """Some consecutive rows.

    Attributes:
        first_row: Row of the first one in the store or source.
        molecule_id: Shape (n,).
        conformation_id: Shape (n,).
        atom_offsets: Shape (n + 1,), beginning with 0.
        atomic_numbers: Shape (sum n_atoms,).
        energy: Shape (n,), hartree, of the kind that :func:`energy_of` names; None without.
        texts: Reads SMILES and origins of some of these rows, counted from ``first_row``.
    """

    first_row: int
    molecule_id: IntArray
    conformation_id: IntArray
    atom_offsets: IntArray
    atomic_numbers: NDArray[np.integer[Any]]
    energy: NDArray[np.float64] | None
    texts: Callable[[IntArray], Texts]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.molecule_id)


def energy_of(fields: Sequence[str]) -> str | None:
    """Choose the energy to index: the total one where there is one."""
    return next((name for name in ("energy", "formation_energy") if name in fields), None)


def rows_of_shard(folder: Path, manifest: Manifest, position: int) -> Iterator[IndexRows]:
    """Read the rows of one shard.

    Raises:
        CorruptStoreError: The shard cannot be read.
    """
    entry = manifest.shards[position]
    shard = Shard(folder, entry, manifest)
    before = sum(shard.rows for shard in manifest.shards[:position])
    wanted = energy_of((*manifest.stored_names, *manifest.derived_names))
    stored = stored_fields_for((wanted,) if wanted else (), manifest.derived_names)
    numbers = shard.view("atomic_numbers")
    energies = shard.view(stored[0]) if stored else None
    offsets = shard.atom_offsets
    try:
        for start in range(0, entry.rows, SHARD_STEP):
            stop = min(start + SHARD_STEP, entry.rows)
            rows = np.arange(start, stop)
            if numbers is None or (stored and energies is None):
                flat = shard.read(rows, stored)
                atoms: NDArray[np.integer[Any]] = flat.atomic_numbers
                energy = flat.values[stored[0]] if stored else None
            else:
                atoms = numbers[offsets[start] : offsets[stop]]
                energy = None if energies is None else np.asarray(energies[start:stop])
            counted = offsets[start : stop + 1] - offsets[start]
            if energy is not None and stored[0] != wanted:
                # The total energy follows from the stored formation energy.
                energy = energy + isolated_atoms_energies(atoms, counted)
            yield IndexRows(
                first_row=before + start,
                molecule_id=np.asarray(shard.molecule_id[start:stop]),
                conformation_id=np.asarray(shard.conformation_id[start:stop]),
                atom_offsets=counted,
                atomic_numbers=atoms,
                energy=energy,
                texts=_texts_from(shard, start),
            )
    finally:
        shard.close()


def rows_of_source(source: ConformationSource) -> Iterator[IndexRows]:
    """Read the rows of any source.

    Raises:
        NablaDFTError: The source cannot be read.
    """
    wanted = energy_of(source.info.fields)
    for start in range(0, len(source), SOURCE_STEP):
        rows = np.arange(start, min(start + SOURCE_STEP, len(source)))
        flat = source.read_flat(rows, fields=[wanted] if wanted else [])
        yield IndexRows(
            first_row=start,
            molecule_id=flat.molecule_id,
            conformation_id=flat.conformation_id,
            atom_offsets=flat.atom_offsets,
            atomic_numbers=flat.atomic_numbers,
            energy=flat.values[wanted] if wanted else None,
            texts=_texts_from(source, start),
        )


def _texts_from(reader: Shard | ConformationSource, start: int) -> Callable[[IntArray], Texts]:
    return lambda rows: reader.read_texts(rows + start)
