"""Map-style torch datasets over any source of conformations, for a plain ``DataLoader``.

Example:
    >>> from torch.utils.data import DataLoader  # doctest: +SKIP
    >>> data = HamiltonianDataset("nano", keys=split.part("train"))  # doctest: +SKIP
    >>> loader = DataLoader(data, batch_size=8, collate_fn=data.collate)  # doctest: +SKIP
    >>> next(iter(loader)).labels["hamiltonian"].shape  # doctest: +SKIP
    torch.Size([41672])
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

import nabladft
from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.hamiltonian_checks import diagnose_hamiltonians
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.data.batch import Batch, concatenate
from nabladft.data.block_index import blocks_of_records, blocks_of_triangles
from nabladft.data.blocks import BlockLayout, block_layout
from nabladft.data.columns import TWIN_ENERGIES, Columns
from nabladft.data.references import ReferenceHamiltonians
from nabladft.errors import InputError, MissingFieldError, OrbitalOrderError, UnknownNameError
from nabladft.fields import FIELDS
from nabladft.storage.derived import isolated_atoms_energies
from nabladft.storage.source import ConformationSource
from nabladft.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from nabladft.storage.flat import FlatRecords

    IntArray = NDArray[np.int64]

#: Packed matrices that were not copied, or None.
_Triangles = list[NDArray[np.float64]] | None

#: Labels that are matrices of orbitals, and are given as blocks.
_MATRICES = ("hamiltonian", "overlap")

#: So many Hamiltonians are compared with what the source says of them.
_LOOKED_AT = 4


class _Items(Sequence[Batch]):
    """The conformations of a batch: cut apart only when somebody looks at one of them.

    ``DataLoader`` asks for items and hands them to ``collate``, which joins them again; for
    molecules with energies that would be nearly all the time that reading takes.
    """

    def __init__(self, dataset: ConformationDataset, columns: Columns) -> None:
        self._dataset = dataset
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        n = len(self)
        if isinstance(index, slice):
            return [self[k] for k in range(n)[index]]
        if not -n <= index < n:
            raise IndexError(index)
        return self._dataset._item(self._columns, index % n)  # noqa: SLF001 - its own items

    def joined(self) -> Batch:
        """Give all of them as one batch."""
        return self._dataset._batch(self._columns)  # noqa: SLF001 - its own items


class ConformationDataset(Dataset[Batch]):
    """Records of a source as batches of one, joined by :meth:`collate`.

    Worker processes, forked or spawned, open the files themselves; the order asked for is the
    order given.

    Args:
        source: A source, or a path or name for :func:`nabladft.open`.
        rows: Rows of the source, in the order of the dataset; None takes all.
        keys: Pairs (molecule_id, conformation_id) instead of rows, shape (n, 2), such as
            ``split.part("train")``.
        fields: Labels to load.
        dtype: Type of positions, forces and Hamiltonians. Energies are always float64.
        in_memory: Read everything now and keep it; workers and epochs then share one copy.

    Raises:
        InputError: Both rows and keys are given, or one of them is not in the source.
        UnknownNameError: A field is not a label that a batch can carry.
        MissingFieldError: The source does not hold a field and it does not follow from another.
    """

    #: Labels that batches of this dataset can carry.
    _known_fields: ClassVar[tuple[str, ...]] = ("formation_energy", "energy", "forces")

    def __init__(
        self,
        source: ConformationSource | str | Path,
        *,
        rows: Sequence[int] | IntArray | None = None,
        keys: Sequence[tuple[int, int]] | IntArray | None = None,
        fields: Sequence[str],
        dtype: torch.dtype = torch.float32,
        in_memory: bool = False,
    ) -> None:
        """See the class."""
        if rows is not None and keys is not None:
            message = "Choose conformations by rows or by keys, not by both."
            raise InputError(message)
        self.source = _opened(source)
        self.fields = tuple(fields)
        self.dtype = dtype
        self._rows = _rows(self.source, rows, keys)
        for name in fields:
            if name not in self._known_fields:
                raise UnknownNameError("label of this dataset", name, self._known_fields)
        self._source_fields = _fields_to_read(self.source, self.fields)
        self._memory: Columns | None = self._read(self.rows) if in_memory else None

    @property
    def rows(self) -> IntArray:
        """Rows of the source, in the order of the dataset, shape (n,)."""
        return np.arange(len(self.source)) if self._rows is None else self._rows

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.source) if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        """Give one conformation as a batch of one."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Batch]:
        """Give several conformations, read at once; ``DataLoader`` calls this.

        Raises:
            IndexError: An index is out of range.
        """
        n = len(self)
        chosen = np.asarray(indices, dtype=np.int64)
        if len(chosen) and not (-n <= chosen.min() and chosen.max() < n):
            message = f"Index out of range: the dataset has {n} conformations."
            raise IndexError(message)
        if len(chosen) and chosen.min() < 0:
            chosen = np.where(chosen < 0, chosen + n, chosen)
        if self._memory is not None:
            return _Items(self, self._memory.chosen(chosen))
        return _Items(self, self._read(chosen if self._rows is None else self._rows[chosen]))

    @staticmethod
    def collate(items: Sequence[Batch]) -> Batch:
        """Join conformations; pass it to ``DataLoader(collate_fn=...)``."""
        return items.joined() if isinstance(items, _Items) and len(items) else concatenate(items)

    @property
    def sizes(self) -> IntArray:
        """Cost of each conformation for :class:`SizeAwareBatchSampler`: its number of atoms."""
        return self.source.n_atoms[self.rows]

    def _read(self, rows: IntArray) -> Columns:
        flat, triangles = self._flat(rows)
        labels, value_offsets = self._labels(flat, triangles)
        reference, reference_offsets = self._reference(flat)
        return Columns(
            molecule_id=_tensor(flat.molecule_id),
            conformation_id=_tensor(flat.conformation_id),
            atom_offsets=_tensor(flat.atom_offsets),
            atomic_numbers=_tensor(flat.atomic_numbers).to(torch.int64),
            positions=_tensor(flat.positions).to(self.dtype),
            labels=labels,
            value_offsets=value_offsets if value_offsets is not None else reference_offsets,
            reference=reference,
        )

    def _flat(self, rows: IntArray) -> tuple[FlatRecords, _Triangles]:
        """Read records, and packed matrices apart from them where that saves a copy."""
        return self.source.read_flat(rows, fields=self._source_fields), None

    def _labels(
        self,
        flat: FlatRecords,
        triangles: _Triangles,  # noqa: ARG002 - for datasets with matrices
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Turn what was read into labels, and say where the block values of each record begin."""
        labels = {}
        for name in self.fields:
            if name in TWIN_ENERGIES:
                labels[name] = _tensor(_energy(flat, name))
            elif name == "forces":
                labels[name] = _tensor(flat.values[name]).to(self.dtype)
        return labels, None

    def _reference(
        self,
        flat: FlatRecords,  # noqa: ARG002 - for datasets with matrices
    ) -> tuple[Tensor | None, Tensor | None]:
        """Compute approximate Hamiltonians, where a dataset has them, and their offsets."""
        return None, None

    def _layout(self, atomic_numbers: Tensor, atom_offsets: Tensor) -> BlockLayout | None:  # noqa: ARG002 - see below
        """Lay out the blocks of conformations, where a dataset has blocks."""
        return None

    def _batch(self, columns: Columns) -> Batch:
        n_atoms = columns.atom_offsets[1:] - columns.atom_offsets[:-1]
        return Batch(
            molecule_id=columns.molecule_id,
            conformation_id=columns.conformation_id,
            atomic_numbers=columns.atomic_numbers,
            positions=columns.positions,
            conformation_index=torch.repeat_interleave(
                torch.arange(len(columns)), n_atoms, output_size=len(columns.atomic_numbers)
            ),
            atom_offsets=columns.atom_offsets,
            labels=columns.labels,
            blocks=self._layout(columns.atomic_numbers, columns.atom_offsets),
            reference_hamiltonian=columns.reference,
        )

    def _item(self, columns: Columns, k: int) -> Batch:
        first, last = (int(x) for x in columns.atom_offsets[k : k + 2])
        cuts = {
            name: slice(k, k + 1) if name in TWIN_ENERGIES else slice(first, last)
            for name in columns.labels
        }
        reference = None
        if columns.value_offsets is not None:
            begin, end = (int(x) for x in columns.value_offsets[k : k + 2])
            in_orbitals = [name for name in columns.labels if FIELDS[name].in_orbitals]
            cuts |= dict.fromkeys(in_orbitals, slice(begin, end))
            reference = None if columns.reference is None else columns.reference[begin:end]
        numbers = columns.atomic_numbers[first:last]
        offsets = torch.tensor([0, last - first])
        return Batch(
            molecule_id=columns.molecule_id[k : k + 1],
            conformation_id=columns.conformation_id[k : k + 1],
            atomic_numbers=numbers,
            positions=columns.positions[first:last],
            conformation_index=torch.zeros(last - first, dtype=torch.int64),
            atom_offsets=offsets,
            labels={name: values[cuts[name]] for name, values in columns.labels.items()},
            blocks=self._layout(numbers, offsets),
            reference_hamiltonian=reference,
        )


class EnergyDataset(ConformationDataset):
    """Energies and forces; see :class:`ConformationDataset` for the arguments.

    Example:
        >>> EnergyDataset("nano", fields=("formation_energy",))[0]  # doctest: +SKIP
    """

    def __init__(
        self,
        source: ConformationSource | str | Path,
        *,
        rows: Sequence[int] | IntArray | None = None,
        keys: Sequence[tuple[int, int]] | IntArray | None = None,
        fields: Sequence[str] = ("formation_energy", "forces"),
        dtype: torch.dtype = torch.float32,
        in_memory: bool = False,
    ) -> None:
        """See :class:`ConformationDataset`."""
        super().__init__(
            source, rows=rows, keys=keys, fields=fields, dtype=dtype, in_memory=in_memory
        )


class HamiltonianDataset(ConformationDataset):
    """Hamiltonians as atom-pair blocks; see :class:`ConformationDataset` for the other arguments.

    Other labels that are matrices of the same orbitals, such as ``overlap``, are blocks as well.

    Args:
        orbital_order: Order of the orbitals in the blocks, whatever that of the source.
        reference: Approximate Hamiltonian to compute for every conformation, one of
            :data:`nabladft.labels.guesses.GUESS_METHODS`; batches then have
            ``reference_hamiltonian``.
        reference_folder: Where to keep these (:class:`~nabladft.data.references.
            ReferenceHamiltonians`); None keeps them in memory.

    Raises:
        OrbitalOrderError: There is no such order, the source does not state its own, or its first
            matrices look like another.
        UnitError: They look like another unit than hartree.
        HamiltonianError: They look like another basis set or another sequence of the atoms.
        UnknownNameError: There is no such reference.
        MissingExtraError: The reference needs PySCF, which is not installed.
    """

    _known_fields = ("formation_energy", "energy", "forces", *_MATRICES)

    def __init__(
        self,
        source: ConformationSource | str | Path,
        *,
        rows: Sequence[int] | IntArray | None = None,
        keys: Sequence[tuple[int, int]] | IntArray | None = None,
        fields: Sequence[str] = ("hamiltonian",),
        orbital_order: str = "ascending",
        reference: str | None = None,
        reference_folder: Path | None = None,
        dtype: torch.dtype = torch.float32,
        in_memory: bool = False,
    ) -> None:
        """See the class."""
        source = _opened(source)
        self.orbital_order = orbital_order_named(orbital_order)
        self.basis_set, self._source_order = _kind_of_matrices(source, fields)
        self.references = (
            None
            if reference is None
            else ReferenceHamiltonians(reference, self.basis_set, folder=reference_folder)
        )
        super().__init__(
            source, rows=rows, keys=keys, fields=fields, dtype=dtype, in_memory=in_memory
        )
        if "hamiltonian" in fields:
            self._look_at_hamiltonians()

    @cached_property
    def sizes(self) -> IntArray:
        """Cost of each conformation for :class:`SizeAwareBatchSampler`: n_orbitals squared."""
        basis = basis_set_named(self.basis_set)
        counts, rows = [], self.rows
        for start in range(0, len(rows), 1024):
            flat = self.source.read_flat(rows[start : start + 1024], fields=())
            orbitals = basis.orbitals_per_atom(flat.atomic_numbers)
            counts.append(np.add.reduceat(orbitals, flat.atom_offsets[:-1]))
        return np.concatenate(counts) ** 2 if counts else np.zeros(0, dtype=np.int64)

    def _look_at_hamiltonians(self) -> None:
        """Refuse data whose first matrices are not what the source says they are."""
        records = self.source.read(self.rows[:_LOOKED_AT], fields=("hamiltonian",))
        keys = [record.key for record in records]
        diagnose_hamiltonians(
            [record.require("hamiltonian") for record in records],
            [record.atomic_numbers for record in records],
            [record.positions for record in records],
            basis_set=basis_set_named(self.basis_set),
            orbital_order=orbital_order_named(self._source_order),
            names=[f"{self.source.info.name!r}, conformation {m}/{c}" for m, c in keys],
        )

    def _flat(self, rows: IntArray) -> tuple[FlatRecords, _Triangles]:
        if "hamiltonian" in self.fields and isinstance(self.source, Store):
            triangles = self.source.triangles("hamiltonian", rows)
            if triangles is not None:
                others = [name for name in self._source_fields if name != "hamiltonian"]
                return self.source.read_flat(rows, fields=others), triangles
        return super()._flat(rows)

    def _labels(
        self, flat: FlatRecords, triangles: _Triangles
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        labels, offsets = super()._labels(flat, triangles)
        for name in self.fields:
            if name in _MATRICES:
                copied = triangles if name == "hamiltonian" else None
                labels[name], offsets = self._blocks(name, flat, copied)
        return labels, offsets

    def _blocks(self, name: str, flat: FlatRecords, triangles: _Triangles) -> tuple[Tensor, Tensor]:
        kind = self._kind_of_blocks(self._source_order)
        if triangles is None:
            return self._as_tensors(*blocks_of_records(flat, name, self.basis_set, **kind))
        return self._as_tensors(*blocks_of_triangles(triangles, flat, self.basis_set, **kind))

    def _reference(self, flat: FlatRecords) -> tuple[Tensor | None, Tensor | None]:
        if self.references is None:
            return None, None
        triangles = [
            self.references.triangle(flat.atomic_numbers[start:stop], flat.positions[start:stop])
            for start, stop in pairwise(flat.atom_offsets.tolist())
        ]
        kind = self._kind_of_blocks("ascending")
        return self._as_tensors(*blocks_of_triangles(triangles, flat, self.basis_set, **kind))

    def _kind_of_blocks(self, source: str) -> dict[str, Any]:
        # NumPy has no name for some types of torch; values go there by way of float32.
        dtype = np.dtype(np.float64 if self.dtype == torch.float64 else np.float32)
        return {"source": source, "target": str(self.orbital_order), "dtype": dtype}

    def _as_tensors(self, values: NDArray[Any], offsets: IntArray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(values).to(self.dtype), torch.from_numpy(offsets)

    def _layout(self, atomic_numbers: Tensor, atom_offsets: Tensor) -> BlockLayout:
        if len(atom_offsets) == 2:
            return _layout_of(tuple(atomic_numbers.tolist()), self.basis_set, self.orbital_order)
        return block_layout(atomic_numbers, atom_offsets, self.basis_set, self.orbital_order)


@lru_cache(maxsize=64)
def _layout_of(numbers: tuple[int, ...], basis_set: str, orbital_order: str) -> BlockLayout:
    offsets = torch.tensor([0, len(numbers)])
    return block_layout(torch.tensor(numbers), offsets, basis_set, orbital_order)


def _tensor(values: NDArray[Any]) -> Tensor:
    """Share the memory of a new array; copy one that must not be written to."""
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def _opened(source: ConformationSource | str | Path) -> ConformationSource:
    return source if isinstance(source, ConformationSource) else nabladft.open(source)


def _rows(
    source: ConformationSource,
    rows: Sequence[int] | IntArray | None,
    keys: Sequence[tuple[int, int]] | IntArray | None,
) -> IntArray | None:
    """Find the rows, or None for all: a list of them would be as long as the source."""
    if keys is not None:
        return source.rows_of(keys)
    return None if rows is None else source.check_rows(rows)


def _fields_to_read(source: ConformationSource, fields: Sequence[str]) -> tuple[str, ...]:
    """Map the labels wanted to those that the source holds."""
    held = source.info.fields
    return source.check_fields(
        tuple(
            dict.fromkeys(
                TWIN_ENERGIES[name]
                if name not in held and TWIN_ENERGIES.get(name) in held
                else name
                for name in fields
            )
        )
    )


def _energy(flat: FlatRecords, name: str) -> NDArray[np.float64]:
    if name in flat.values:
        return np.array(flat.values[name], dtype=np.float64)
    isolated = isolated_atoms_energies(flat.atomic_numbers, flat.atom_offsets)
    sign = -1.0 if name == "formation_energy" else 1.0
    return np.asarray(flat.values[TWIN_ENERGIES[name]] + sign * isolated)


def _kind_of_matrices(source: ConformationSource, fields: Sequence[str]) -> tuple[str, str]:
    info = source.info
    if "hamiltonian" in fields and "hamiltonian" not in info.fields:
        held = ", ".join(info.fields) or "none"
        message = f"{info.name!r} does not hold 'hamiltonian'. Labels it holds: {held}."
        raise MissingFieldError(message)
    if info.basis_set is None or info.orbital_order is None:
        message = (
            f"{info.name!r} does not state the basis set and orbital order of its matrices, so "
            "their values have no meaning. Convert it to a store that states them."
        )
        raise OrbitalOrderError(message)
    return info.basis_set, info.orbital_order
