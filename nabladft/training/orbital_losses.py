"""Losses of the orbitals that come out of a predicted Hamiltonian, for fine-tuning.

Everything happens in the basis of the reference orbitals C of the label H, with CᵀSC = 1 and
CᵀHC = diag(ε). There the error of a prediction Ĥ is E = Cᵀ(Ĥ - H)C, and:

- ``energy`` diagonalises diag(ε) + E, whose eigenvalues are those of Ĥ, and compares them with ε;
- ``alignment`` reads E itself, for two products of matrices: E_ii is, to first order, the error of
  orbital energy i, and E_ij is by how much orbitals i and j are mixed (:func:`alignment_loss`).

The reference orbitals of a conformation are computed once and kept.

Source:
    Y. Li et al., "Enhancing the Scalability and Applicability of Kohn-Sham Hamiltonians for
    Molecular Systems", ICLR 2025, arXiv 2502.19227: comparing Hamiltonians in the basis of the
    reference orbitals. How elements are weighted is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn.utils.rnn import pad_sequence

from nabladft.data.blocks import dense_from_blocks
from nabladft.data.electronic import (
    SquareMatrices,
    electrons_of,
    molecular_orbitals,
    square_matrices,
    square_matrices_from_blocks,
)
from nabladft.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from nabladft.data.batch import Batch
    from nabladft.data.electronic import MolecularOrbitals
    from nabladft.training.config import OrbitalLossConfig

#: What is reported of a validation, in this order: mean over the occupied orbitals, then those of
#: one orbital or of their difference.
REPORTED: Final = ("orbital_energy", "homo", "lumo", "gap")

#: Reference orbitals are kept up to this sum of their sizes; those beyond are computed each time.
_KEPT_BYTES: Final = 2_000_000_000

#: Hartree. Orbitals nearer to the middle of the gap count as this far, so that small gaps do not
#: outweigh everything.
_SMALLEST_DISTANCE: Final = 0.1

#: Keeps the derivative of a square root finite at zero error.
_TINY: Final = 1e-24


class OrbitalObjective:
    """Loss and errors of the orbitals of predicted Hamiltonians.

    Batches need the labels ``hamiltonian`` and ``overlap``.

    Args:
        config: Weights, and which orbitals count.
    """

    def __init__(self, config: OrbitalLossConfig) -> None:
        """See the class."""
        self.config = config
        self._references = _References()

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Sum the weighted losses.

        Args:
            predicted: Hamiltonians as blocks, shape (n_values,), hartree.
            batch: With labels.

        Returns:
            Scalar.

        Raises:
            RunError: A prediction is not finite: training has diverged.
        """
        total = torch.zeros((), dtype=predicted.dtype, device=predicted.device)
        if not (self.config.energy_weight or self.config.alignment_weight):
            return total
        # Mixed precision would round what is left after subtracting the reference.
        with torch.autocast(predicted.device.type, enabled=False):
            reference = self._references.of(batch)
            errors = reference.errors(predicted, batch)
            if self.config.energy_weight:
                found = reference.predicted_orbitals(errors).energies
                differences = (found - reference.energies)[reference.lowest(self.config.n_virtual)]
                total = total + self.config.energy_weight * differences.abs().mean()
            if self.config.alignment_weight:
                aligned = alignment_loss(
                    errors.values,
                    reference.energies,
                    reference.coefficients.is_orbital,
                    reference.middle_of_gap(),
                )
                total = total + self.config.alignment_weight * aligned
        return total.to(predicted.dtype)

    @torch.no_grad()
    def absolute_errors(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Sum the absolute errors and count them.

        Args:
            predicted: Hamiltonians as blocks, shape (n_values,), hartree.
            batch: With labels.

        Returns:
            Shape (4, 2), float64: sum and count, in the order of :data:`REPORTED`. Each occupied
            orbital counts once, HOMO, LUMO and gap once per conformation.

        Raises:
            RunError: A prediction is not finite: training has diverged.
        """
        with torch.autocast(predicted.device.type, enabled=False):
            reference = self._references.of(batch)
            found = reference.predicted_orbitals(reference.errors(predicted, batch))
        errors = found.energies - reference.energies
        n_occupied = found.is_occupied.sum(1, keepdim=True)
        homo, lumo = (errors.gather(1, n_occupied - k)[:, 0] for k in (1, 0))
        rows = (errors[found.is_occupied], homo, lumo, lumo - homo)
        return torch.stack(
            [torch.stack([row.abs().sum(), row.new_tensor(len(row))]) for row in rows]
        )


def alignment_loss(errors: Tensor, energies: Tensor, is_orbital: Tensor, middle: Tensor) -> Tensor:
    """Measure errors of Hamiltonians between reference orbitals by what they do to the occupied.

    With the distance of each orbital from the middle of the gap, d_i = max(|ε_i - µ|, 0.1 hartree),
    the loss is the mean over orbitals i of sqrt(Σ_j R_ij²), where R_ij = E_ij / sqrt(d_i d_j). When
    the gap is above 0.2 hartree, R has two meanings. An occupied and an empty orbital mix, to first
    order, by an angle of at most R_ij / 2. And as long as no eigenvalue of R reaches 1 in
    magnitude, as many orbitals as before lie below µ: there is no intruder.

    Args:
        errors: E = Cᵀ(Ĥ - H)C, shape (n, width, width), hartree, zero in the padding.
        energies: ε, shape (n, width), hartree.
        is_orbital: Which are not padding, shape (n, width), bool.
        middle: µ, shape (n,), hartree.

    Returns:
        Scalar, without unit.
    """
    distance = (energies - middle[:, None]).abs().clamp(min=_SMALLEST_DISTANCE).to(errors.dtype)
    squares = errors.square() / (distance[:, :, None] * distance[:, None, :])
    return torch.sqrt(squares.sum(2)[is_orbital] + _TINY).mean()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reference:
    """Orbitals of the labels of a batch.

    Attributes:
        energies: ε, hartree, zero in the padding, shape (n, width), float64.
        coefficients: C, in the precision of the labels.
        n_electrons: Shape (n,).
    """

    energies: Tensor
    coefficients: SquareMatrices
    n_electrons: Tensor

    def errors(self, predicted: Tensor, batch: Batch) -> SquareMatrices:
        """Give E = Cᵀ(Ĥ - H)C, in the precision of the prediction but at least float32."""
        assert batch.blocks is not None
        C = self.coefficients.values
        difference = predicted.to(C.dtype) - batch.labels["hamiltonian"]
        if not difference.isfinite().all():
            message = (
                "Training has diverged: a predicted Hamiltonian is not finite. Lower "
                "training.optimizer.learning_rate, or set training.gradient_clip."
            )
            raise RunError(message)
        values = C.mT @ square_matrices_from_blocks(difference, batch.blocks).values @ C
        return SquareMatrices(values=values, n_orbitals=self.coefficients.n_orbitals)

    @property
    def n_occupied(self) -> Tensor:
        """Doubly occupied orbitals, shape (n,)."""
        return self.n_electrons.div(2, rounding_mode="floor")

    def lowest(self, n_virtual: int) -> Tensor:
        """Mark the occupied orbitals and the lowest virtual ones, shape (n, width), bool."""
        index = torch.arange(self.energies.shape[1], device=self.energies.device)
        return (index < (self.n_occupied + n_virtual)[:, None]) & self.coefficients.is_orbital

    def middle_of_gap(self) -> Tensor:
        """Give the mean of HOMO and LUMO energy, hartree, shape (n,)."""
        both = torch.stack([self.n_occupied - 1, self.n_occupied], dim=1)
        return self.energies.gather(1, both).mean(1)

    def predicted_orbitals(self, errors: SquareMatrices) -> MolecularOrbitals:
        """Diagonalise diag(ε) + E, in float64."""
        values = torch.diag_embed(self.energies) + errors.values.double()
        matrices = SquareMatrices(values=values, n_orbitals=errors.n_orbitals)
        return molecular_orbitals(matrices, None, self.n_electrons)


@dataclass(frozen=True)
class _Kept:
    """Orbitals of one conformation, on the CPU, and where its atoms were."""

    positions: Tensor
    energies: Tensor
    coefficients: Tensor

    @property
    def n_bytes(self) -> int:
        return sum(x.element_size() * x.nelement() for x in vars(self).values())


class _References:
    """Reference orbitals of conformations, computed when they are first met."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], _Kept] = {}
        self._free = _KEPT_BYTES

    def of(self, batch: Batch) -> _Reference:
        """Find or compute the orbitals of a batch's labels.

        A conformation that was turned since (``training.augmentation``) has other orbitals.
        """
        keys = list(zip(batch.molecule_id.tolist(), batch.conformation_id.tolist(), strict=True))
        n_atoms = (batch.atom_offsets[1:] - batch.atom_offsets[:-1]).tolist()
        positions = torch.split(batch.positions.detach().cpu(), n_atoms)
        found = [self._find(*one) for one in zip(keys, positions, strict=True)]
        absent = [k for k, one in enumerate(found) if one is None]
        for k, one in zip(absent, _solved(batch, positions, absent), strict=True):
            found[k] = one
            self._keep(keys[k], one)
        device = batch.positions.device
        kept = [one for one in found if one is not None]
        return _Reference(
            energies=pad_sequence([one.energies for one in kept], batch_first=True).to(device),
            coefficients=square_matrices([one.coefficients.to(device) for one in kept]),
            n_electrons=electrons_of(batch),
        )

    def _find(self, key: tuple[int, int], positions: Tensor) -> _Kept | None:
        kept = self._kept.get(key)
        return kept if kept is not None and torch.equal(kept.positions, positions) else None

    def _keep(self, key: tuple[int, int], orbitals: _Kept) -> None:
        if key not in self._kept and orbitals.n_bytes <= self._free:
            self._kept[key] = orbitals
            self._free -= orbitals.n_bytes


@torch.no_grad()
def _solved(batch: Batch, positions: Sequence[Tensor], which: Sequence[int]) -> list[_Kept]:
    """Compute the orbitals of some conformations of a batch in float64."""
    if not which:
        return []
    assert batch.blocks is not None
    H, S = (
        dense_from_blocks(batch.labels[name].double(), batch.blocks)
        for name in ("hamiltonian", "overlap")
    )
    orbitals = molecular_orbitals(
        square_matrices([H[k] for k in which]),
        square_matrices([S[k] for k in which]),
        electrons_of(batch)[list(which)],
    )
    dtype = batch.labels["hamiltonian"].dtype
    return [
        _Kept(
            positions=positions[k].clone(),
            energies=energies[: len(H[k])].cpu().clone(),
            coefficients=C[: len(H[k]), : len(H[k])].to("cpu", dtype, copy=True),
        )
        for k, energies, C in zip(which, orbitals.energies, orbitals.coefficients, strict=True)
    ]
