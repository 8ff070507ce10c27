"""Metrics: pure functions on arrays, each a ratio of sums over conformations.

Exact definitions are in the docstrings and, side by side with the published ones, in
``docs/metrics.md``.
"""

from nabladft.metrics.catalog import METRICS, Metric, metric_named
from nabladft.metrics.convergence import (
    density_energy_error,
    scf_cycle_ratio,
    scf_time_ratio,
    scf_worse_rate,
)
from nabladft.metrics.density import (
    density_error,
    dipole_error,
    displaced_electrons,
    mulliken_charge_errors,
    mulliken_charges_mae,
    mulliken_charges_mae_by_element,
)
from nabladft.metrics.energy import energy_mae, energy_mae_per_atom, relative_energy_mae
from nabladft.metrics.forces import forces_cosine, forces_mae, forces_mae_by_element
from nabladft.metrics.hamiltonian import (
    block_errors,
    block_sizes,
    degree_errors,
    hamiltonian_mae,
    hamiltonian_mae_by_degrees,
    hamiltonian_mae_by_element,
    hamiltonian_mae_by_element_pair,
    overlap_mae,
)
from nabladft.metrics.orbitals import (
    OrbitalBlock,
    OrbitalComparison,
    compare_orbitals,
    gap_mae,
    hamiltonian_error_share,
    hamiltonian_mae_in_orbitals,
    homo_energy_mae,
    lumo_energy_mae,
    lumo_intruder_rate,
    occupied_intruder_rate,
    occupied_orbital_energies_mae,
    occupied_subspace_distance,
    occupied_subspace_largest_sine,
)
from nabladft.metrics.published import (
    hamiltonian_mae_published_phisnet,
    hamiltonian_mae_published_qhnet,
    wavefunction_similarity_published_qh9,
)
from nabladft.metrics.terms import Estimate, Terms, estimate

__all__ = [
    "METRICS",
    "Estimate",
    "Metric",
    "OrbitalBlock",
    "OrbitalComparison",
    "Terms",
    "block_errors",
    "block_sizes",
    "compare_orbitals",
    "degree_errors",
    "density_energy_error",
    "density_error",
    "dipole_error",
    "displaced_electrons",
    "energy_mae",
    "energy_mae_per_atom",
    "estimate",
    "forces_cosine",
    "forces_mae",
    "forces_mae_by_element",
    "gap_mae",
    "hamiltonian_error_share",
    "hamiltonian_mae",
    "hamiltonian_mae_by_degrees",
    "hamiltonian_mae_by_element",
    "hamiltonian_mae_by_element_pair",
    "hamiltonian_mae_in_orbitals",
    "hamiltonian_mae_published_phisnet",
    "hamiltonian_mae_published_qhnet",
    "homo_energy_mae",
    "lumo_energy_mae",
    "lumo_intruder_rate",
    "metric_named",
    "mulliken_charge_errors",
    "mulliken_charges_mae",
    "mulliken_charges_mae_by_element",
    "occupied_intruder_rate",
    "occupied_orbital_energies_mae",
    "occupied_subspace_distance",
    "occupied_subspace_largest_sine",
    "overlap_mae",
    "relative_energy_mae",
    "scf_cycle_ratio",
    "scf_time_ratio",
    "scf_worse_rate",
    "wavefunction_similarity_published_qh9",
]
