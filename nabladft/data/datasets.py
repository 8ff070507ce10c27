"""Map-style torch datasets over any source of conformations, for a plain ``DataLoader``.

Example:
    >>> from torch.utils.data import DataLoader  # doctest: +SKIP
    >>> data = HamiltonianDataset("nano", keys=split.part("train"))  # doctest: +SKIP
    >>> loader = DataLoader(data, batch_size=8, collate_fn=data.collate)  # doctest: +SKIP
    >>> next(iter(loader)).labels["hamiltonian"].shape  # doctest: +SKIP
    torch.Size([41672])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

import nabladft
from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.data.batch import Batch, concatenate
from nabladft.data.blocks import BlockLayout, block_layout, blocks_from_packed
from nabladft.errors import InputError, MissingFieldError, OrbitalOrderError, UnknownNameError
from nabladft.storage.source import ConformationSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from nabladft.storage.flat import FlatRecords

    IntArray = NDArray[np.int64]

#: Each follows from the other and the atoms, so a source needs to hold only one of them.
_TWIN_ENERGIES = {"formation_energy": "energy", "energy": "formation_energy"}


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Records as flat tensors, ready to be cut into items."""

    molecule_id: Tensor
    conformation_id: Tensor
    atom_offsets: Tensor
    atomic_numbers: Tensor
    positions: Tensor
    labels: dict[str, Tensor]
    value_offsets: Tensor | None


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
        self.rows = _rows(self.source, rows, keys)
        for name in fields:
            if name not in self._known_fields:
                raise UnknownNameError("label of this dataset", name, self._known_fields)
        self._source_fields = _fields_to_read(self.source, self.fields)
        self._memory: _Columns | None = self._read(self.rows) if in_memory else None

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        """Give one conformation as a batch of one."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Batch]:
        """Give several conformations, read at once; ``DataLoader`` calls this.

        Raises:
            IndexError: An index is out of range.
        """
        n = len(self)
        chosen = [int(index) for index in indices]
        if any(not -n <= index < n for index in chosen):
            message = f"Index out of range: the dataset has {n} conformations."
            raise IndexError(message)
        if self._memory is not None:
            return [self._item(self._memory, index % n) for index in chosen]
        columns = self._read(self.rows[chosen])
        return [self._item(columns, k) for k in range(len(chosen))]

    @staticmethod
    def collate(items: Sequence[Batch]) -> Batch:
        """Join conformations; pass it to ``DataLoader(collate_fn=...)``."""
        return concatenate(items)

    @property
    def sizes(self) -> IntArray:
        """Cost of each conformation for :class:`SizeAwareBatchSampler`: its number of atoms."""
        return self.source.n_atoms[self.rows]

    def _read(self, rows: IntArray) -> _Columns:
        flat = self.source.read_flat(rows, fields=self._source_fields)
        labels, value_offsets = self._labels(flat)
        return _Columns(
            molecule_id=torch.tensor(flat.molecule_id),
            conformation_id=torch.tensor(flat.conformation_id),
            atom_offsets=torch.tensor(flat.atom_offsets),
            atomic_numbers=torch.tensor(flat.atomic_numbers, dtype=torch.int64),
            positions=torch.tensor(flat.positions, dtype=self.dtype),
            labels=labels,
            value_offsets=value_offsets,
        )

    def _labels(self, flat: FlatRecords) -> tuple[dict[str, Tensor], Tensor | None]:
        """Turn what was read into labels, and say where the block values of each record begin."""
        labels = {}
        for name in self.fields:
            if name in _TWIN_ENERGIES:
                labels[name] = torch.from_numpy(_energy(flat, name))
            elif name == "forces":
                labels[name] = torch.tensor(flat.values[name], dtype=self.dtype)
        return labels, None

    def _layout(self, atomic_numbers: Tensor) -> BlockLayout | None:  # noqa: ARG002 - see below
        """Lay out the blocks of one conformation, where a dataset has blocks."""
        return None

    def _item(self, columns: _Columns, k: int) -> Batch:
        first, last = (int(x) for x in columns.atom_offsets[k : k + 2])
        cuts = {
            name: slice(k, k + 1) if name in _TWIN_ENERGIES else slice(first, last)
            for name in columns.labels
        }
        if columns.value_offsets is not None:
            begin, end = (int(x) for x in columns.value_offsets[k : k + 2])
            cuts["hamiltonian"] = slice(begin, end)
        numbers = columns.atomic_numbers[first:last]
        return Batch(
            molecule_id=columns.molecule_id[k : k + 1],
            conformation_id=columns.conformation_id[k : k + 1],
            atomic_numbers=numbers,
            positions=columns.positions[first:last],
            conformation_index=torch.zeros(last - first, dtype=torch.int64),
            atom_offsets=torch.tensor([0, last - first]),
            labels={name: values[cuts[name]] for name, values in columns.labels.items()},
            blocks=self._layout(numbers),
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

    Args:
        orbital_order: Order of the orbitals in the blocks, whatever that of the source.

    Raises:
        OrbitalOrderError: There is no such order, or the source does not state its own.
    """

    _known_fields = ("formation_energy", "energy", "forces", "hamiltonian")

    def __init__(
        self,
        source: ConformationSource | str | Path,
        *,
        rows: Sequence[int] | IntArray | None = None,
        keys: Sequence[tuple[int, int]] | IntArray | None = None,
        fields: Sequence[str] = ("hamiltonian",),
        orbital_order: str = "ascending",
        dtype: torch.dtype = torch.float32,
        in_memory: bool = False,
    ) -> None:
        """See the class."""
        source = _opened(source)
        self.orbital_order = orbital_order_named(orbital_order)
        self.basis_set, self._source_order = _kind_of_matrices(source)
        super().__init__(
            source, rows=rows, keys=keys, fields=fields, dtype=dtype, in_memory=in_memory
        )

    @cached_property
    def sizes(self) -> IntArray:
        """Cost of each conformation for :class:`SizeAwareBatchSampler`: n_orbitals squared."""
        basis = basis_set_named(self.basis_set)
        counts = []
        for start in range(0, len(self.rows), 1024):
            flat = self.source.read_flat(self.rows[start : start + 1024], fields=())
            orbitals = basis.orbitals_per_atom(flat.atomic_numbers)
            counts.append(np.add.reduceat(orbitals, flat.atom_offsets[:-1]))
        return np.concatenate(counts) ** 2 if counts else np.zeros(0, dtype=np.int64)

    def _labels(self, flat: FlatRecords) -> tuple[dict[str, Tensor], Tensor | None]:
        labels, offsets = super()._labels(flat)
        if "hamiltonian" in self.fields:
            labels["hamiltonian"], offsets = self._blocks(flat)
        return labels, offsets

    def _blocks(self, flat: FlatRecords) -> tuple[Tensor, Tensor]:
        packed = torch.from_numpy(np.asarray(flat.values["hamiltonian"]))
        packed_offsets = flat.value_offsets("hamiltonian")
        values = []
        for k in range(len(flat)):
            numbers = flat.atomic_numbers[flat.atom_offsets[k] : flat.atom_offsets[k + 1]]
            blocks = blocks_from_packed(
                packed[packed_offsets[k] : packed_offsets[k + 1]],
                numbers.tolist(),
                self.basis_set,
                source=self._source_order,
                target=self.orbital_order,
            )
            values.append(blocks.to(self.dtype))
        sizes = torch.tensor([0, *(len(blocks) for blocks in values)])
        joined = torch.cat(values) if values else torch.zeros(0, dtype=self.dtype)
        return joined, torch.cumsum(sizes, 0)

    def _layout(self, atomic_numbers: Tensor) -> BlockLayout:
        return _layout_of(tuple(atomic_numbers.tolist()), self.basis_set, self.orbital_order)


@lru_cache(maxsize=1024)
def _layout_of(numbers: tuple[int, ...], basis_set: str, orbital_order: str) -> BlockLayout:
    offsets = torch.tensor([0, len(numbers)])
    return block_layout(torch.tensor(numbers), offsets, basis_set, orbital_order)


def _opened(source: ConformationSource | str | Path) -> ConformationSource:
    return source if isinstance(source, ConformationSource) else nabladft.open(source)


def _rows(
    source: ConformationSource,
    rows: Sequence[int] | IntArray | None,
    keys: Sequence[tuple[int, int]] | IntArray | None,
) -> IntArray:
    if keys is not None:
        return source.rows_of(keys)
    return np.arange(len(source)) if rows is None else source.check_rows(rows)


def _fields_to_read(source: ConformationSource, fields: Sequence[str]) -> tuple[str, ...]:
    """Map the labels wanted to those that the source holds."""
    held = source.info.fields
    return source.check_fields(
        tuple(
            dict.fromkeys(
                _TWIN_ENERGIES[name]
                if name not in held and _TWIN_ENERGIES.get(name) in held
                else name
                for name in fields
            )
        )
    )


def _energy(flat: FlatRecords, name: str) -> NDArray[np.float64]:
    if name in flat.values:
        return np.array(flat.values[name], dtype=np.float64)
    isolated = np.array(
        [
            isolated_atoms_energy(flat.atomic_numbers[first:last])
            for first, last in zip(flat.atom_offsets[:-1], flat.atom_offsets[1:], strict=True)
        ]
    )
    sign = -1.0 if name == "formation_energy" else 1.0
    return np.asarray(flat.values[_TWIN_ENERGIES[name]] + sign * isolated)


def _kind_of_matrices(source: ConformationSource) -> tuple[str, str]:
    info = source.info
    if "hamiltonian" not in info.fields:
        held = ", ".join(info.fields) or "none"
        message = f"{info.name!r} does not hold 'hamiltonian'. Labels it holds: {held}."
        raise MissingFieldError(message)
    if info.basis_set is None or info.orbital_order is None:
        message = (
            f"{info.name!r} does not state the basis set and orbital order of its Hamiltonians, so "
            "their values have no meaning. Convert it to a store that states them."
        )
        raise OrbitalOrderError(message)
    return info.basis_set, info.orbital_order
