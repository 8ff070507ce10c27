"""Thermally displaced geometries: harmonic vibrations about the minimum of a force field.

Rigid molecules have one conformer, and conformers of a generator all sit at standard bond lengths;
displaced geometries add what molecules at a temperature do. Displacements are drawn from the
classical canonical distribution of the normal modes: every mode holds k_B T / 2 of potential energy
on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.linalg

from nabladft.chemistry.units import (
    BOHR_IN_ANGSTROM,
    BOLTZMANN_IN_HARTREE_PER_KELVIN,
    HARTREE_IN_KCAL_PER_MOL,
)
from nabladft.errors import LabelError, missing_extra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

#: Step of the numerical Hessian, angstrom.
_STEP: Final = 1e-4
#: Softest force constant a mode may have, hartree/(bohr^2 amu): about 50 cm^-1. A softer mode is a
#: free rotation, whose harmonic amplitude would be without bound.
_SOFTEST: Final = (50.0 / 5140.4871) ** 2
#: A displaced geometry whose bonds leave these multiples of their length at the minimum is drawn
#: again: the harmonic picture does not hold there.
_BOND_RANGE: Final = (0.8, 1.25)
#: Atoms that are not bonded stay at least this far apart, as a share of their distance at the
#: minimum.
_CLOSEST: Final = 0.75
_ATTEMPTS: Final = 200


@dataclass(frozen=True)
class NormalModes:
    """The vibrations of a molecule about a minimum of a force field.

    Attributes:
        force_field: "MMFF94", or "UFF" where MMFF94 has no parameters.
        positions: The minimum, shape (n_atoms, 3), bohr.
        hessian: Second derivatives, shape (3 n_atoms, 3 n_atoms), hartree/bohr^2.
        curvatures: Eigenvalues of the mass-weighted Hessian without translation and rotation,
            shape (n_modes,), hartree/(bohr^2 amu).
        modes: Mass-weighted directions of unit length, shape (3 n_atoms, n_modes).
        masses: Shape (n_atoms,), amu.
        bonds: Bonded pairs of atoms, shape (n_bonds, 2).
    """

    force_field: str
    positions: FloatArray
    hessian: FloatArray
    curvatures: FloatArray
    modes: FloatArray
    masses: FloatArray
    bonds: NDArray[np.int64]

    def draw(self, temperature: float, generator: np.random.Generator) -> FloatArray:
        r"""Draw displacements from the classical canonical distribution.

        The coordinate of mode :math:`k` is normal with variance :math:`k_B T / \lambda_k`, where
        :math:`\lambda_k` is its curvature.

        Args:
            temperature: Kelvin.
            generator: Source of randomness.

        Returns:
            Displacements, shape (n_atoms, 3), bohr.
        """
        thermal_energy = BOLTZMANN_IN_HARTREE_PER_KELVIN * temperature
        deviation = np.sqrt(thermal_energy / np.maximum(self.curvatures, _SOFTEST))
        coordinates = deviation * generator.standard_normal(len(deviation))
        weighted = (self.modes @ coordinates).reshape(-1, 3)
        return np.asarray(weighted / np.sqrt(self.masses)[:, None])

    def displaced(self, temperature: float, generator: np.random.Generator) -> FloatArray:
        """Draw a geometry in which no bond breaks and no atoms clash.

        Args:
            temperature: Kelvin.
            generator: Source of randomness.

        Returns:
            Positions, shape (n_atoms, 3), bohr.

        Raises:
            LabelError: The temperature is so high that no such geometry was found.
        """
        for _ in range(_ATTEMPTS):
            positions = self.positions + self.draw(temperature, generator)
            if self._is_intact(positions):
                return positions
        message = (
            f"In {_ATTEMPTS} draws at {temperature:g} K bonds broke or atoms clashed. "
            "Harmonic displacements need a lower temperature."
        )
        raise LabelError(message)

    def _is_intact(self, positions: FloatArray) -> bool:
        ratio = np.ones((len(positions), len(positions)))
        first, second = np.triu_indices(len(positions), k=1)
        ratio[first, second] = np.linalg.norm(
            positions[first] - positions[second], axis=1
        ) / np.linalg.norm(self.positions[first] - self.positions[second], axis=1)
        bonds = ratio[self.bonds.min(axis=1), self.bonds.max(axis=1)]
        lower, upper = _BOND_RANGE
        return bool(ratio.min() > _CLOSEST and bonds.min() > lower and bonds.max() < upper)


def find_normal_modes(mol: Any, conformer_id: int = -1) -> NormalModes:
    """Relax a conformer in a force field and find its vibrations.

    Args:
        mol: An RDKit molecule with explicit hydrogens; it is not changed.
        conformer_id: Which of its conformers to start from.

    Raises:
        LabelError: No force field has parameters for the molecule, or no minimum is found.
        MissingExtraError: RDKit is not installed.
    """
    try:
        from rdkit import Chem  # noqa: PLC0415 - optional dependency
    except ImportError as error:
        raise missing_extra("Thermal displacement", "label", error) from error
    mol = Chem.Mol(mol, confId=conformer_id)
    masses = np.array([atom.GetMass() for atom in mol.GetAtoms()])
    bonds = np.array(
        [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()], dtype=np.int64
    )
    name, field = _force_field(mol)
    generator = np.random.default_rng(0)
    for _ in range(5):
        field.Minimize(maxIts=5000, forceTol=1e-8, energyTol=1e-12)
        positions = np.array(field.Positions()).reshape(-1, 3)
        hessian = _hessian(field, positions)
        weight = np.repeat(1.0 / np.sqrt(masses), 3)
        basis = _vibrational_space(positions, masses)
        weighted = basis.T @ (hessian * weight[:, None] * weight) @ basis
        curvatures, vectors = scipy.linalg.eigh(weighted)
        if curvatures.min() > -_SOFTEST:
            return NormalModes(
                force_field=name,
                positions=positions / BOHR_IN_ANGSTROM,
                hessian=hessian,
                curvatures=curvatures,
                modes=basis @ vectors,
                masses=masses,
                bonds=bonds,
            )
        # A saddle point, because the start was symmetric: leave it, and fall again.
        conformer = mol.GetConformer()
        shaken = positions + generator.normal(0.0, 0.05, positions.shape)
        for atom, place in enumerate(shaken):
            conformer.SetAtomPosition(atom, place.tolist())
        name, field = _force_field(mol)
    message = f"No minimum of {name} was found for {Chem.MolToSmiles(Chem.RemoveHs(mol))}."
    raise LabelError(message)


def _force_field(mol: Any) -> tuple[str, Any]:
    from rdkit.Chem import MolToSmiles, rdForceFieldHelpers  # noqa: PLC0415

    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
        name, field = "MMFF94", rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        name, field = "UFF", rdForceFieldHelpers.UFFGetMoleculeForceField(mol)
    else:
        message = f"Neither MMFF94 nor UFF has parameters for {MolToSmiles(mol)}."
        raise LabelError(message)
    field.Initialize()
    return name, field


def _hessian(field: Any, positions: FloatArray) -> FloatArray:
    """Differentiate the gradient numerically; hartree/bohr^2 from kcal/mol and angstrom."""
    flat = positions.ravel()
    rows = []
    for index in range(flat.size):
        step = np.zeros_like(flat)
        step[index] = _STEP
        rows.append((_gradient(field, flat + step) - _gradient(field, flat - step)) / (2 * _STEP))
    hessian = np.array(rows) / HARTREE_IN_KCAL_PER_MOL * BOHR_IN_ANGSTROM**2
    return np.asarray((hessian + hessian.T) / 2)


def _gradient(field: Any, positions: FloatArray) -> FloatArray:
    # RDKit keeps the distances of earlier positions and would mix them in: gradients off by 100 %.
    field.Initialize()
    return np.array(field.CalcGrad(positions.tolist()))


def _vibrational_space(positions: FloatArray, masses: FloatArray) -> FloatArray:
    """Return orthonormal mass-weighted directions without translation and rotation.

    Returns:
        Shape (3 n_atoms, 3 n_atoms - 6), or - 5 for a linear molecule.
    """
    centred = positions - masses @ positions / masses.sum()
    moved = [np.broadcast_to(axis, positions.shape) for axis in np.eye(3)]
    turned = [np.cross(axis, centred) for axis in np.eye(3)]
    weighted = np.array([(m * np.sqrt(masses)[:, None]).ravel() for m in [*moved, *turned]])
    return np.asarray(scipy.linalg.null_space(weighted, rcond=1e-4))
