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
        better: Which way is better; "neither" for what only describes an error.
        title: Short text for table headers and axes.
    """

    name: str
    field: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    title: str

    @property
    def is_rate(self) -> bool:
        """Whether it is a share of conformations, which can be given as a count."""
        return self.name.endswith("_rate")


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
    Metric(
        "occupied_orbital_energies_mae",
        "hamiltonian",
        "hartree",
        "lower",
        "occupied orbital energies MAE",
    ),
    Metric("homo_energy_mae", "hamiltonian", "hartree", "lower", "HOMO energy MAE"),
    Metric("lumo_energy_mae", "hamiltonian", "hartree", "lower", "LUMO energy MAE"),
    Metric("gap_mae", "hamiltonian", "hartree", "lower", "gap MAE"),
    Metric("occupied_subspace_distance", "hamiltonian", "1", "lower", "occupied subspace distance"),
    Metric(
        "occupied_subspace_largest_sine",
        "hamiltonian",
        "1",
        "lower",
        "largest sine of the occupied subspaces",
    ),
    Metric(
        "occupied_intruder_rate",
        "hamiltonian",
        "1",
        "lower",
        "intruders among the occupied orbitals",
    ),
    Metric("lumo_intruder_rate", "hamiltonian", "1", "lower", "intruders as LUMO"),
    Metric("displaced_electrons", "hamiltonian", "e", "lower", "displaced electrons"),
    Metric("mulliken_charges_mae", "hamiltonian", "e", "lower", "Mulliken charges MAE"),
    Metric("dipole_error", "hamiltonian", "e*bohr", "lower", "dipole error"),
    Metric(
        "density_energy_error", "hamiltonian", "hartree", "lower", "energy error of the density"
    ),
    Metric("scf_cycle_ratio", "hamiltonian", "1", "lower", "SCF cycles, share of the guess's"),
    Metric("scf_time_ratio", "hamiltonian", "1", "lower", "SCF time, share of the guess's"),
    Metric("scf_worse_rate", "hamiltonian", "1", "lower", "SCF made worse"),
    Metric("scf_guarded_cycle_ratio", "hamiltonian", "1", "lower", "SCF cycles, guarded start"),
    Metric("scf_guarded_time_ratio", "hamiltonian", "1", "lower", "SCF time, guarded start"),
    Metric("scf_guarded_worse_rate", "hamiltonian", "1", "lower", "SCF made worse, guarded start"),
    Metric(
        "hamiltonian_occupied_mae",
        "hamiltonian",
        "hartree",
        "lower",
        "Hamiltonian MAE, occupied-occupied",
    ),
    Metric(
        "hamiltonian_occupied_virtual_mae",
        "hamiltonian",
        "hartree",
        "lower",
        "Hamiltonian MAE, occupied-virtual",
    ),
    Metric(
        "hamiltonian_virtual_mae",
        "hamiltonian",
        "hartree",
        "lower",
        "Hamiltonian MAE, virtual-virtual",
    ),
    Metric(
        "hamiltonian_occupied_share",
        "hamiltonian",
        "1",
        "neither",
        "share of the squared error, occupied-occupied",
    ),
    Metric(
        "hamiltonian_occupied_virtual_share",
        "hamiltonian",
        "1",
        "neither",
        "share of the squared error, occupied-virtual",
    ),
    Metric(
        "hamiltonian_virtual_share",
        "hamiltonian",
        "1",
        "neither",
        "share of the squared error, virtual-virtual",
    ),
    Metric(
        "hamiltonian_mae_published_qhnet",
        "hamiltonian",
        "hartree",
        "lower",
        "Hamiltonian MAE as published for QHNet",
    ),
    Metric(
        "hamiltonian_mae_published_phisnet",
        "hamiltonian",
        "hartree",
        "lower",
        "Hamiltonian MAE as published for PhiSNet",
    ),
    Metric(
        "wavefunction_similarity_published_qh9",
        "hamiltonian",
        "1",
        "higher",
        "wavefunction similarity as in QH9",
    ),
    Metric("overlap_mae", "overlap", "1", "lower", "overlap MAE"),
    Metric("overlap_mae_over_elements", "overlap", "1", "lower", "overlap MAE over elements"),
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
