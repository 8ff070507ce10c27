"""What every model of Hamiltonians or overlap matrices must keep, as one function."""

from __future__ import annotations

import copy
import dataclasses
from itertools import product
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import torch

from nabladft.chemistry.basis import basis_set_named
from nabladft.chemistry.orbitals import orbital_order_named
from nabladft.chemistry.rotations import orbital_rotation
from nabladft.data.blocks import block_layout, dense_from_blocks, symmetrise_diagonal
from nabladft.errors import ModelError
from nabladft.models.contract import (
    PREDICTABLE_MATRICES,
    Preparable,
    check_attributes,
    is_equivariant,
)
from nabladft.testing.molecules import MOLECULES, batch_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nabladft.data.batch import Batch
    from nabladft.testing.molecules import FloatArray, Molecule

#: Largest deviation allowed, relative to the largest value.
TOLERANCES: Final = {torch.float32: 1e-5, torch.float64: 1e-10}
#: Distances at which continuity is checked, bohr.
_SCAN: Final = np.arange(2.0, 20.0, 0.25)
#: Halvings of each interval of the scan; a step then shrinks by that many factors of two.
_HALVINGS: Final = 12
#: A step that shrinks less than by this factor is a jump.
_SHRINKS: Final = 0.05


def check_hamiltonian_model(
    model: torch.nn.Module,
    *,
    molecules: Sequence[Molecule] = MOLECULES,
    tolerances: Mapping[torch.dtype, float] = TOLERANCES,
    seed: int = 0,
) -> None:
    """Check that a model keeps the contract of Hamiltonian models, in float32 and float64.

    A copy is checked; a model with ``prepare`` is first prepared on the molecules with made-up
    labels. Checked are, of each matrix that it predicts:

    - the declared output, one finite value for each value of the blocks, the diagonal blocks
      symmetric (off-diagonal ones are, by the layout);
    - rotating the molecule by R turns the matrix into D H Dᵀ, D being the rotation of the orbitals
      in the declared order, unless the model states ``is_equivariant = False``; the same for
      reflections, unless it states that or ``handles_reflections = False``;
    - translation leaves the matrix alone;
    - another order of the atoms reorders the blocks;
    - a batch of different molecules gives what each alone gives;
    - an atom that moves away changes the matrix without a jump, as it would where a cutoff is
      sharp, unless the model states ``is_continuous = False``.

    Args:
        model: Any module; its weights may be random.
        molecules: At least two.
        tolerances: Largest deviation for each precision to check, relative to the largest value.
        seed: Of the rotation, the shift and the order.

    Raises:
        ModelError: The first promise that is broken, and by how much.
    """
    check_attributes(model)
    predicts = cast("frozenset[str]", model.predicts)
    matrices = sorted(predicts & PREDICTABLE_MATRICES)
    if not matrices:
        wanted = " and no ".join(sorted(PREDICTABLE_MATRICES))
        message = f"{type(model).__name__} predicts {sorted(predicts)}, no {wanted}."
        raise ModelError(message)
    for name, (dtype, tolerance) in product(matrices, tolerances.items()):
        check = _Check(model, name, molecules, dtype, tolerance, np.random.default_rng(seed))
        check.output()
        check.translation()
        if is_equivariant(model):
            check.rotation(improper=False)
            if getattr(model, "handles_reflections", True):
                check.rotation(improper=True)
        check.permutation()
        check.batching()
        if dtype == torch.float64 and getattr(model, "is_continuous", True):
            check.continuity()


def batch_with_blocks(
    molecules: Sequence[Molecule], basis_set: str, orbital_order: str, *, dtype: torch.dtype
) -> Batch:
    """Put molecules into a batch with blocks and without labels.

    Args:
        molecules: At least one.
        basis_set: Of the blocks.
        orbital_order: Of the blocks.
        dtype: Of the positions.
    """
    batch = batch_of(molecules, dtype=dtype)
    blocks = block_layout(batch.atomic_numbers, batch.atom_offsets, basis_set, orbital_order)
    return dataclasses.replace(batch, blocks=blocks)


def with_made_up_labels(batch: Batch, predicts: frozenset[str], rng: np.random.Generator) -> Batch:
    """Give a batch energies, and symmetric matrices of small random numbers.

    Args:
        batch: With blocks.
        predicts: Names of the matrices wanted, among others.
        rng: Where the numbers come from.
    """
    assert batch.blocks is not None
    energies = torch.from_numpy(rng.normal(size=batch.n_conformations))
    labels = {"formation_energy": energies}
    for name in sorted(predicts & PREDICTABLE_MATRICES):
        values = torch.from_numpy(rng.normal(0.0, 0.02, batch.blocks.n_values))
        labels[name] = symmetrise_diagonal(values, batch.blocks).to(batch.positions.dtype)
    return dataclasses.replace(batch, labels=labels)


class _Check:
    """A prepared copy of the model in one precision, and the promises one by one."""

    def __init__(
        self,
        model: torch.nn.Module,
        name: str,
        molecules: Sequence[Molecule],
        dtype: torch.dtype,
        tolerance: float,
        rng: np.random.Generator,
    ) -> None:
        self._name = name
        self._dtype = dtype
        self._tolerance = tolerance
        self._molecules = list(molecules)
        self._rng = rng
        self._basis_set = cast(str, model.basis_set)
        self._order = orbital_order_named(cast(str, model.orbital_order))
        self._model = copy.deepcopy(model).to(dtype)
        if isinstance(self._model, Preparable):
            predicts = cast("frozenset[str]", self._model.predicts)
            self._model.prepare(
                [with_made_up_labels(self._batch(self._molecules), predicts, self._rng)]
            )
        self._model.eval()

    def output(self) -> None:
        batch = self._batch(self._molecules)
        assert batch.blocks is not None
        with torch.no_grad():
            output = self._model(batch)
        if self._name not in output:
            message = f"The model declares {self._name!r} but returned {sorted(output)}."
            raise ModelError(message)
        values = output[self._name]
        if values.shape != (batch.blocks.n_values,):
            message = (
                f"{self._name} must have shape (n_values,) = ({batch.blocks.n_values},), "
                f"got {tuple(values.shape)}."
            )
            raise ModelError(message)
        if not bool(torch.isfinite(values).all()):
            message = f"{self._name} has values that are not finite."
            raise ModelError(message)
        gap = float((values - symmetrise_diagonal(values, batch.blocks)).abs().max())
        self._refuse_above("The diagonal blocks are not symmetric", gap, float(values.abs().max()))

    def translation(self) -> None:
        vector = self._rng.normal(size=3)
        moved = self._call([molecule.shifted(vector) for molecule in self._molecules])
        self._compare("Translation changes the matrix", moved, self._call(self._molecules))

    def rotation(self, *, improper: bool) -> None:
        rotation = _random_orthogonal(self._rng) * (-1.0 if improper else 1.0)
        expected = []
        for molecule, matrix in zip(self._molecules, self._call(self._molecules), strict=True):
            turn = orbital_rotation(
                molecule.atomic_numbers,
                rotation,
                orbital_order=self._order,
                basis_set=basis_set_named(self._basis_set),
            )
            expected.append(turn @ matrix @ turn.T)
        turned = self._call([molecule.rotated(rotation) for molecule in self._molecules])
        what = "A reflection" if improper else "A rotation"
        self._compare(f"{what} does not turn the matrix as its orbitals", turned, expected)

    def permutation(self) -> None:
        basis = basis_set_named(self._basis_set)
        expected, reordered = [], []
        for molecule, matrix in zip(self._molecules, self._call(self._molecules), strict=True):
            order = self._rng.permutation(len(molecule.atomic_numbers))
            counts = basis.orbitals_per_atom(molecule.atomic_numbers)
            orbitals = np.split(np.arange(counts.sum()), np.cumsum(counts)[:-1])
            chosen = np.concatenate([orbitals[atom] for atom in order])
            expected.append(matrix[np.ix_(chosen, chosen)])
            reordered.append(molecule.reordered(order))
        self._compare(
            "Another order of the atoms does not reorder the matrix",
            self._call(reordered),
            expected,
        )

    def batching(self) -> None:
        alone = [self._call([molecule])[0] for molecule in self._molecules]
        together = self._call(self._molecules)
        self._compare("A batch does not give what each conformation alone gives", together, alone)

    def continuity(self) -> None:
        """Halve the intervals of a scan, keeping the half that changes more: a jump stays."""
        near, far = _SCAN[:-1].copy(), _SCAN[1:].copy()
        at_near, at_far = self._scan(near), self._scan(far)
        first = np.abs(at_near - at_far).max(axis=(1, 2))
        for _ in range(_HALVINGS):
            middle = 0.5 * (near + far)
            at_middle = self._scan(middle)
            left = np.abs(at_near - at_middle).max(axis=(1, 2))
            right = np.abs(at_middle - at_far).max(axis=(1, 2))
            goes_left = left > right
            near, far = np.where(goes_left, near, middle), np.where(goes_left, middle, far)
            choose = goes_left[:, None, None]
            at_near = np.where(choose, at_near, at_middle)
            at_far = np.where(choose, at_middle, at_far)
        last = np.abs(at_near - at_far).max(axis=(1, 2))
        jumps = last > _SHRINKS * first + self._tolerance * np.abs(at_far).max()
        if jumps.any():
            k = int(np.argmax(np.where(jumps, last, 0.0)))
            message = (
                f"The {self._name} of a molecule jumps by {last[k]:.1e} where its last atom is "
                f"{far[k]:.2f} bohr from the first. Let every function of a distance fade out "
                "before its cutoff."
            )
            raise ModelError(message)

    def _scan(self, distances: FloatArray) -> FloatArray:
        """Matrices of the first molecule with its last atom moved outwards."""
        molecule = self._molecules[0]
        origin, last = molecule.positions[0], molecule.positions[-1]
        direction = (last - origin) / np.linalg.norm(last - origin)
        moved = []
        for distance in distances:
            positions = molecule.positions.copy()
            positions[-1] = origin + distance * direction
            moved.append(dataclasses.replace(molecule, positions=positions))
        return np.stack(self._call(moved))

    def _batch(self, molecules: Sequence[Molecule]) -> Batch:
        return batch_with_blocks(molecules, self._basis_set, self._order, dtype=self._dtype)

    def _call(self, molecules: Sequence[Molecule]) -> list[FloatArray]:
        batch = self._batch(molecules)
        assert batch.blocks is not None
        with torch.no_grad():
            values = self._model(batch)[self._name].double()
        return [matrix.numpy() for matrix in dense_from_blocks(values, batch.blocks)]

    def _compare(
        self, what: str, found: Sequence[FloatArray], expected: Sequence[FloatArray]
    ) -> None:
        for one, other in zip(found, expected, strict=True):
            gap = float(np.abs(one - other).max())
            self._refuse_above(what, gap, float(np.abs(other).max()))

    def _refuse_above(self, what: str, gap: float, largest: float) -> None:
        allowed = self._tolerance * max(1.0, largest)
        if not gap <= allowed:
            precision = str(self._dtype).removeprefix("torch.")
            message = (
                f"{what}, in {precision}: {self._name} is off by {gap:.1e}, allowed {allowed:.1e}."
            )
            raise ModelError(message)


def _random_orthogonal(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a rotation matrix, shape (3, 3), uniformly."""
    orthogonal, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    orthogonal = orthogonal * np.sign(np.diag(upper))
    orthogonal[:, 0] *= np.linalg.det(orthogonal)
    return np.asarray(orthogonal)
