"""Executable contracts: run them on a model of yours to see whether it keeps them.

Example:
    >>> from nabladft.testing import check_hamiltonian_model  # doctest: +SKIP
    >>> check_hamiltonian_model(model)  # doctest: +SKIP
"""

from __future__ import annotations

from nabladft.testing.energy import check_energy_model
from nabladft.testing.hamiltonian import check_hamiltonian_model
from nabladft.testing.hamiltonian_training import check_hamiltonian_training

__all__ = ["check_energy_model", "check_hamiltonian_model", "check_hamiltonian_training"]
