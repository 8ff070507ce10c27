"""Small ASE calculators: a real quantum chemistry one, and some that misbehave."""

from __future__ import annotations

import os
import signal

import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes


class HartreeFock(Calculator):
    """Restricted Hartree-Fock in a minimal basis, by PySCF."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        from pyscf import gto, scf

        super().calculate(atoms, properties, system_changes)
        molecule = gto.M(
            atom=list(zip(atoms.symbols, atoms.positions / units.Bohr, strict=True)),
            unit="Bohr",
            basis="sto-3g",
            verbose=0,
        )
        field = scf.RHF(molecule)
        self.results["energy"] = field.kernel() * units.Hartree
        gradient = field.nuc_grad_method().kernel()
        self.results["forces"] = -gradient * units.Hartree / units.Bohr


class Springs(Calculator):
    """Springs between all atoms: an energy that is known by hand."""

    implemented_properties = ("energy", "forces")

    def __init__(self, strength=1.0):
        super().__init__()
        self.strength = strength

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        between = atoms.positions[:, None] - atoms.positions
        self.results["energy"] = 0.25 * self.strength * float((between**2).sum())
        self.results["forces"] = -self.strength * between.sum(axis=1)


class Troubled(Springs):
    """Springs that do something else at the conformation of that number, counting from 1."""

    def __init__(self, at, what):
        super().__init__()
        self.at, self.what, self.n_asked = at, what, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_asked += 1
        if self.n_asked != self.at:
            return
        if self.what == "fail":
            message = "no convergence\nafter 100 cycles"
            raise RuntimeError(message)
        if self.what == "interrupt":
            raise KeyboardInterrupt
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "nan":
            self.results["forces"][0, 0] = np.nan
        if self.what == "shape":
            self.results["forces"] = self.results["forces"][:-1]
        if self.what == "energies":
            self.results["energy"] = np.ones(3)


class EnergyOnly(Springs):
    implemented_properties = ("energy",)


class NoEnergy(Springs):
    implemented_properties = ("dipole",)


def broken(**options):
    message = f"weights not found: {options}"
    raise OSError(message)


def number():
    return 3
