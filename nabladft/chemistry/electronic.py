"""Electronic structure from a Hamiltonian and its overlap matrix: no DFT program needed.

:func:`electronic_structure` gives everything at once; the functions it is made of are importable
from here as well. Everything is for closed shells.

Example:
    >>> import numpy as np
    >>> from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
    >>> hydrogen = np.array([1, 1])
    >>> positions = np.array([[0, 0, 0], [0, 0, 1.4]])
    >>> H = core_hamiltonian_matrix(hydrogen, positions)
    >>> result = electronic_structure(H, None, hydrogen, positions)
    >>> result.n_electrons, round(float(result.mayer_bond_orders[0, 1]), 6)
    (2, 1.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nabladft.chemistry.basis import DEF2_SVP, BasisSet
from nabladft.chemistry.bond_orders import (
    bond_orders_of_orthogonal,
    mayer_bond_orders,
    wiberg_bond_orders,
)
from nabladft.chemistry.charges import charges_of_orthogonal, loewdin_charges, mulliken_charges
from nabladft.chemistry.molecular_orbitals import (
    MolecularOrbitals,
    density_matrix,
    electrons_in,
    homo_lumo,
    homo_lumo_gap,
    molecular_orbitals,
    n_electrons,
    n_occupied,
    orbital_energies_and_coefficients,
    orbitals_in,
)
from nabladft.chemistry.moments import dipole_moment
from nabladft.chemistry.orbitals import OrbitalOrder, check_operator_shape
from nabladft.chemistry.orthogonalisation import (
    SMALLEST_OVERLAP_EIGENVALUE,
    Dependent,
    checked_pair,
    overlap_roots,
)
from nabladft.chemistry.overlap import overlap_matrix

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = [
    "SMALLEST_OVERLAP_EIGENVALUE",
    "ElectronicStructure",
    "MolecularOrbitals",
    "density_matrix",
    "dipole_moment",
    "electronic_structure",
    "electrons_in",
    "homo_lumo",
    "homo_lumo_gap",
    "loewdin_charges",
    "mayer_bond_orders",
    "molecular_orbitals",
    "mulliken_charges",
    "n_electrons",
    "n_occupied",
    "orbital_energies_and_coefficients",
    "wiberg_bond_orders",
]


@dataclass(frozen=True, kw_only=True)
class ElectronicStructure:
    """What follows from a Hamiltonian, in atomic units.

    Attributes:
        n_electrons: Number of electrons, all in pairs.
        orbitals: Orbital energies and coefficients, and how near to singular the overlap was.
        homo_energy: Of the highest occupied orbital, hartree.
        lumo_energy: Of the lowest empty orbital, hartree.
        gap: Between the two, hartree.
        density_matrix: Shape (n_orbitals, n_orbitals).
        dipole: Shape (3,), e·bohr, about the origin of the positions.
        mulliken_charges: Shape (n_atoms,), e.
        loewdin_charges: Shape (n_atoms,), e.
        mayer_bond_orders: Shape (n_atoms, n_atoms), zero on the diagonal.
        wiberg_bond_orders: In Loewdin's orbitals, shape (n_atoms, n_atoms), zero on the diagonal.
    """

    n_electrons: int
    orbitals: MolecularOrbitals
    homo_energy: float
    lumo_energy: float
    gap: float
    density_matrix: FloatArray
    dipole: FloatArray
    mulliken_charges: FloatArray
    loewdin_charges: FloatArray
    mayer_bond_orders: FloatArray
    wiberg_bond_orders: FloatArray


def electronic_structure(
    hamiltonian: ArrayLike,
    overlap: ArrayLike | None,
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    *,
    charge: int = 0,
    basis_set: BasisSet = DEF2_SVP,
    orbital_order: OrbitalOrder = "ascending",
    dependent: Dependent = "refuse",
    smallest_overlap_eigenvalue: float = SMALLEST_OVERLAP_EIGENVALUE,
) -> ElectronicStructure:
    """Compute everything that follows from a Hamiltonian.

    Args:
        hamiltonian: Shape (n_orbitals, n_orbitals), hartree. Only its symmetric part counts.
        overlap: Shape (n_orbitals, n_orbitals), in the same orbital order. None: computed from the
            geometry.
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        charge: Total charge, e.
        basis_set: Basis set with known exponents, or a
            :class:`~nabladft.chemistry.gaussians.GaussianBasis`.
        orbital_order: Order of rows and columns of the matrices.
        dependent: "refuse" linearly dependent orbitals, or "drop" those combinations; how many is
            in ``orbitals.n_dropped`` of the result.
        smallest_overlap_eigenvalue: Combinations with a smaller eigenvalue are dependent.

    Returns:
        The record; its matrices are in ``orbital_order``.

    Raises:
        InputError: A matrix or the positions are not finite, the overlap is singular, or the
            electrons do not come in pairs.
        OrbitalCountError: A matrix does not have the number of orbitals of these atoms.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: The exponents of ``basis_set`` are not known here.
        UnsupportedElementError: An element is not in the basis set.
    """
    numbers = np.asarray(atomic_numbers)
    if overlap is None:
        overlap = overlap_matrix(
            numbers, positions, basis_set=basis_set, orbital_order=orbital_order
        )
    H, S = checked_pair(hamiltonian, overlap, "Hamiltonian")
    check_operator_shape(H, numbers, basis_set=basis_set)
    roots = overlap_roots(
        S, dependent=dependent, smallest_overlap_eigenvalue=smallest_overlap_eigenvalue
    )
    orbitals = orbitals_in(roots, H)
    electrons = n_electrons(numbers, charge=charge)
    D = density_matrix(orbitals.coefficients, electrons)
    orthogonal = roots.root @ D @ roots.root
    homo, lumo = homo_lumo(orbitals.energies, electrons)
    return ElectronicStructure(
        n_electrons=electrons,
        orbitals=orbitals,
        homo_energy=homo,
        lumo_energy=lumo,
        gap=lumo - homo,
        density_matrix=D,
        dipole=dipole_moment(
            D, numbers, positions, basis_set=basis_set, orbital_order=orbital_order
        ),
        mulliken_charges=mulliken_charges(D, S, numbers, basis_set=basis_set),
        loewdin_charges=charges_of_orthogonal(orthogonal, numbers, basis_set=basis_set),
        mayer_bond_orders=mayer_bond_orders(D, S, numbers, basis_set=basis_set),
        wiberg_bond_orders=bond_orders_of_orthogonal(orthogonal, numbers, basis_set=basis_set),
    )
