"""Molecules, rotations and PySCF's integrals, for the tests of the conventions."""

from dataclasses import dataclass

import numpy as np
import pytest

import nabladft
from nabladft.chemistry.elements import SYMBOLS
from nabladft.chemistry.gaussians import ContractedShell, GaussianBasis
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals


@pytest.fixture
def all_elements(rng):
    """The eight elements of the data set in one disordered heap, bohr."""
    numbers = np.array([1, 6, 7, 8, 9, 16, 17, 35])
    return numbers, rng.normal(scale=2.5, size=(8, 3))


@pytest.fixture
def pyscf_molecule():
    """Builder of PySCF molecules: (atomic_numbers, positions in bohr, basis name)."""
    gto = pytest.importorskip("pyscf.gto")

    def build(numbers, positions, basis="def2-svp"):
        atoms = [(SYMBOLS[n], x) for n, x in zip(numbers, positions, strict=True)]
        spin = int(sum(numbers)) % 2
        return gto.M(atom=atoms, unit="Bohr", basis=basis, spin=spin, verbose=0)

    return build


@pytest.fixture
def large_basis():
    """Builder of basis sets with f and g shells, from PySCF's tables."""
    gto = pytest.importorskip("pyscf.gto")

    def build(name, numbers):
        return GaussianBasis.from_contractions(
            name,
            {
                int(n): [
                    ContractedShell.normalised(
                        l, [row[0] for row in rows], [row[1] for row in rows]
                    )
                    for l, *rows in gto.basis.load(name, SYMBOLS[n])
                ]
                for n in numbers
            },
        )

    return build


def random_orthogonal(rng, *, determinant):
    """A uniformly distributed rotation (determinant 1) or improper rotation (-1)."""
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return matrix * (determinant * np.sign(np.linalg.det(matrix)))


@pytest.fixture(params=[1, -1], ids=["proper", "improper"])
def rotation(request, rng):
    return random_orthogonal(rng, determinant=request.param)


@pytest.fixture(scope="session")
def hypobromous_acid():
    """HOBr, bent: s, p and occupied d shells in the smallest real molecule. Bohr."""
    numbers = np.array([1, 8, 35])
    positions = np.array([[1.75, 0.52, 0.11], [0.0, 0.1, -0.2], [-0.6, 3.4, 0.3]])
    return numbers, positions


@pytest.fixture(scope="session")
def hartree_fock():
    """Converged Hartree-Fock (no grid, so no noise) of any closed-shell molecule."""
    gto = pytest.importorskip("pyscf.gto")
    scf = pytest.importorskip("pyscf.scf")

    def run(numbers, positions, basis="def2-svp"):
        atoms = [(SYMBOLS[n], x) for n, x in zip(numbers, positions, strict=True)]
        molecule = gto.M(atom=atoms, unit="Bohr", basis=basis, verbose=0)
        solver = scf.RHF(molecule)
        solver.conv_tol, solver.conv_tol_grad, solver.max_cycle = 1e-10, 1e-9, 100
        solver.kernel()
        assert solver.converged
        return solver

    return run


@pytest.fixture(scope="session")
def solved_hypobromous_acid(hypobromous_acid, hartree_fock):
    return hartree_fock(*hypobromous_acid)


#: Rows of the data set "nano": C4H5N, C3H3BrN2, C3H2ClNS, C3H6O, C2H3F3O.
REAL_ROWS = (0, 36, 72, 144, 276)


@dataclass(frozen=True)
class RealHamiltonian:
    """A converged Hamiltonian of the data set in some order, and PySCF's answers to it."""

    numbers: np.ndarray
    positions: np.ndarray
    hamiltonian: np.ndarray
    overlap: np.ndarray
    order: str
    mol: object
    energies: np.ndarray
    density: np.ndarray

    @property
    def density_in_pyscf_order(self):
        return self.moved(self.density, self.order, "pyscf")

    @property
    def overlap_in_pyscf_order(self):
        return self.mol.intor("int1e_ovlp")

    def moved(self, matrix, source, target):
        return reorder_orbitals(matrix, self.numbers, source=source, target=target)


@pytest.fixture(
    params=[*((row, "ascending") for row in REAL_ROWS), *((36, o) for o in ORBITAL_ORDERS[1:])],
    ids=lambda parameter: f"{parameter[0]}-{parameter[1]}",
)
def real_hamiltonian(request, pyscf_molecule):
    """Real Hamiltonians of all eight elements, one of them in every order, solved by PySCF."""
    hf = pytest.importorskip("pyscf.scf.hf")
    row, order = request.param
    record = nabladft.open("nano")[row]
    numbers, positions = record.atomic_numbers, record.positions
    mol = pyscf_molecule(numbers, positions)
    there = reorder_orbitals(
        record.hamiltonian, numbers, source=record.orbital_order, target="pyscf"
    )
    solver = hf.RHF(mol)
    energies, coefficients = solver.eig(there, mol.intor("int1e_ovlp"))
    density = solver.make_rdm1(coefficients, solver.get_occ(energies, coefficients))
    H, S, D = (
        reorder_orbitals(np.asarray(matrix), numbers, source="pyscf", target=order)
        for matrix in (there, mol.intor("int1e_ovlp"), density)
    )
    return RealHamiltonian(numbers, positions, H, S, order, mol, energies, D)
