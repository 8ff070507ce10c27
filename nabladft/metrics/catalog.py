"""The metrics by name: what each is an error of, its unit, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nabladft.errors import UnknownNameError


@dataclass(frozen=True)
class Metric:
    """One number of a results file.

    Attributes:
        name: The only name of this metric, in code, files and documentation.
        field: The quantity it scores, a field of predictions files.
        unit: Unit in results files, atomic.
        better: Which way is better.
        title: Short text for table headers and axes.
    """

    name: str
    field: str
    unit: str
    better: Literal["lower", "higher"]
    title: str


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


#: Every metric, in the order of tables. Definitions: the functions of these names, docs/metrics.md.
METRICS: Final = _table(
    Metric("energy_mae", "energy", "hartree", "lower", "energy MAE"),
    Metric("energy_mae_per_atom", "energy", "hartree", "lower", "energy MAE per atom"),
    Metric("relative_energy_mae", "energy", "hartree", "lower", "relative energy MAE"),
    Metric("forces_mae", "forces", "hartree/bohr", "lower", "forces MAE"),
    Metric("forces_cosine", "forces", "1", "higher", "forces cosine"),
    Metric("hamiltonian_mae", "hamiltonian", "hartree", "lower", "Hamiltonian MAE"),
    Metric("hamiltonian_diagonal_mae", "hamiltonian", "hartree", "lower", "diagonal blocks MAE"),
    Metric(
        "hamiltonian_offdiagonal_mae", "hamiltonian", "hartree", "lower", "off-diagonal blocks MAE"
    ),
    Metric(
        "hamiltonian_mae_over_elements",
        "hamiltonian",
        "hartree",
        "lower",
        "Hamiltonian MAE over elements",
    ),
    Metric(
        "hamiltonian_diagonal_mae_over_elements",
        "hamiltonian",
        "hartree",
        "lower",
        "diagonal blocks MAE over elements",
    ),
    Metric(
        "hamiltonian_offdiagonal_mae_over_elements",
        "hamiltonian",
        "hartree",
        "lower",
        "off-diagonal blocks MAE over elements",
    ),
)


def metric_named(name: str) -> Metric:
    """Look a metric up.

    Raises:
        UnknownNameError: There is no such metric.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise UnknownNameError("metric", name, METRICS) from None
