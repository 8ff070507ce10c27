"""Real matrices of small molecules, computed once per session."""

from __future__ import annotations

import numpy as np
import pytest

from nabladft.chemistry.elements import isolated_atoms_energy
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.conformation import Conformation
from nabladft.testing.molecules import MOLECULES


@pytest.fixture(scope="session")
def labelled_records():
    """Five molecules with Hartree-Fock energies and Fock matrices; forces are made up."""
    pyscf = pytest.importorskip("pyscf")
    from pyscf import gto, scf

    del pyscf
    rng = np.random.default_rng(3)
    records = []
    for k, molecule in enumerate(MOLECULES):
        numbers, positions = molecule.atomic_numbers, molecule.positions
        atoms = [(int(z), place) for z, place in zip(numbers, positions, strict=True)]
        mol = gto.M(atom=atoms, unit="Bohr", basis="def2-svp", verbose=0)
        field = scf.RHF(mol).density_fit().run(conv_tol=1e-6)
        fock = reorder_orbitals(field.get_fock(), numbers, source="pyscf", target="ascending")
        records.append(
            Conformation(
                molecule_id=10 + k,
                conformation_id=k % 2,
                atomic_numbers=numbers,
                positions=positions,
                energy=float(field.e_tot),
                formation_energy=float(field.e_tot) - isolated_atoms_energy(numbers),
                forces=rng.normal(size=positions.shape),
                hamiltonian=0.5 * (fock + fock.T),
                orbital_order="ascending",
                basis_set="def2-svp",
            )
        )
    return records


@pytest.fixture
def labelled_source(labelled_records, memory_source):
    return memory_source(labelled_records)
