"""Metrics: pure functions on arrays, each a ratio of sums over conformations.

Exact definitions are in the docstrings and, side by side with the published ones, in
``docs/metrics.md``.
"""

from nabladft.metrics.catalog import METRICS, Metric, metric_named
from nabladft.metrics.energy import energy_mae, energy_mae_per_atom, relative_energy_mae
from nabladft.metrics.forces import forces_cosine, forces_mae, forces_mae_by_element
from nabladft.metrics.hamiltonian import (
    block_errors,
    block_sizes,
    hamiltonian_mae,
    hamiltonian_mae_by_element,
)
from nabladft.metrics.terms import Estimate, Terms, estimate

__all__ = [
    "METRICS",
    "Estimate",
    "Metric",
    "Terms",
    "block_errors",
    "block_sizes",
    "energy_mae",
    "energy_mae_per_atom",
    "estimate",
    "forces_cosine",
    "forces_mae",
    "forces_mae_by_element",
    "hamiltonian_mae",
    "hamiltonian_mae_by_element",
    "metric_named",
    "relative_energy_mae",
]
