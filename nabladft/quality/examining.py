"""Going through data once: distributions and outliers, with memory that does not grow.

What is kept are histograms, one count per molecule, and the flagged records. A record that cannot
be read is flagged and the rest goes on.

Example:
    >>> report = examine("nano", eigenproblems=0)
    >>> [flag.check for flag in report.flags]
    []
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.elements import SYMBOLS
from nabladft.errors import InputError, NablaDFTError
from nabladft.quality.checks import CHECKS, Check, Flag
from nabladft.quality.distributions import Distribution, MoleculeCounter
from nabladft.quality.duplicates import DuplicateFinder
from nabladft.quality.fitting import CompositionFit, fit_composition
from nabladft.quality.measures import (
    check_stated_hamiltonian,
    contacts_and_repulsions,
    distance_difference,
    element_counts,
    force_maximum,
    force_norms,
    gap_of,
    net_force,
)
from nabladft.storage.opening import open_source
from nabladft.storage.source import ConformationSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nabladft.storage.flat import FlatRecords

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]
    Progress = Callable[[str, int, int], None]

#: Records read at once.
STEP: Final = 1024

#: Records that the composition is fitted to, at most, spread over the data.
_FITTED: Final = 20_000

#: Flagged records kept per check; all are counted.
_KEPT: Final = 100_000

#: Unit of each distribution.
UNITS: Final = {
    "n_atoms": "1",
    "conformations_per_molecule": "1",
    "formation_energy_per_atom": "hartree",
    "energy_per_atom_residual": "hartree",
    "energy_z": "1",
    "force_norm": "hartree/bohr",
    "force_maximum": "hartree/bohr",
    "net_force": "hartree/bohr",
    "closest_contact": "1",
    "gap": "hartree",
}


@dataclass(kw_only=True)
class Report:
    """What was found.

    Attributes:
        name: Of the data.
        n_conformations: Examined.
        n_eigenproblems: How many Hamiltonians were diagonalised.
        distributions: By name, those of :data:`UNITS` that the data allow.
        element_atoms: Atoms by chemical symbol.
        element_conformations: Conformations with an element, by chemical symbol.
        fit: What the energy of a composition is expected to be; None without energies.
        checks: Made, with their thresholds.
        counts: Flagged records by check, zero where nothing was found.
        flags: Flagged records, by row and check.
    """

    name: str
    n_conformations: int = 0
    n_eigenproblems: int = 0
    distributions: dict[str, Distribution] = field(default_factory=dict)
    element_atoms: Counter[str] = field(default_factory=Counter)
    element_conformations: Counter[str] = field(default_factory=Counter)
    fit: CompositionFit | None = None
    checks: dict[str, Check] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    flags: list[Flag] = field(default_factory=list)

    def to_document(self) -> dict[str, Any]:
        """Describe as JSON can hold it, without the flagged records."""
        fit = self.fit
        return {
            "name": self.name,
            "n_conformations": self.n_conformations,
            "n_eigenproblems": self.n_eigenproblems,
            "distributions": {name: d.summary() for name, d in self.distributions.items()},
            "element_atoms": dict(self.element_atoms),
            "element_conformations": dict(self.element_conformations),
            "composition_fit": None
            if fit is None
            else {
                "n_records": fit.n_records,
                "unit": "hartree",
                "energy_of_atom": {
                    SYMBOLS[z]: e
                    for z, e in zip(fit.elements.tolist(), fit.energies.tolist(), strict=True)
                },
                "centre_per_atom": fit.centre,
                "deviation_per_atom": fit.scale,
            },
            "checks": {
                name: {
                    "threshold": check.threshold,
                    "side": check.side if check.threshold is not None else None,
                    "unit": check.unit,
                    "meaning": check.meaning,
                    "flagged": self.counts[name],
                }
                for name, check in self.checks.items()
            },
        }


def examine(
    data: ConformationSource | str | Path,
    *,
    checks: Mapping[str, Check] = CHECKS,
    eigenproblems: int | None = 1000,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Go through data once.

    Args:
        data: A source, or what :func:`nabladft.open` takes.
        checks: With their thresholds.
        eigenproblems: How many Hamiltonians to diagonalise at most, spread over the data (some
            milliseconds each for small molecules, a tenth of a second for large ones); None: all.
        limit: Examine only so many records, spread over the data.
        progress: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        NablaDFTError: The data cannot be opened, or no record can be read.
    """
    source = data if isinstance(data, ConformationSource) else open_source(data)
    if (limit is not None and limit < 1) or (eigenproblems is not None and eigenproblems < 0):
        message = f"limit must be at least 1 and eigenproblems 0, got {limit}, {eigenproblems}."
        raise InputError(message)
    with DuplicateFinder() as duplicates:
        examination = _Examination(source, checks, duplicates)
        examination.fit()
        rows = _spread(len(source), limit)
        wanted = _spread(len(rows), eigenproblems)
        diagonalised = rows[wanted] if "hamiltonian" in source.info.fields else rows[:0]
        for start in range(0, len(rows), STEP):
            some = rows[start : start + STEP]
            examination.add(some, diagonalised)
            if progress is not None:
                progress("records", start + len(some), len(rows))
        return examination.finish()


class _Examination:
    def __init__(
        self,
        source: ConformationSource,
        checks: Mapping[str, Check],
        duplicates: DuplicateFinder,
    ) -> None:
        self._source = source
        self._duplicates = duplicates
        self._molecules = MoleculeCounter()
        held = source.info.fields
        wanted = ("formation_energy", "forces")
        self._fields: tuple[str, ...] = tuple(name for name in wanted if name in held)
        # Where isolated atoms are not known, the fit takes total energies as well.
        if "formation_energy" not in held and "energy" in held:
            self._fields = ("energy", *self._fields)
        self._energy = next((name for name in self._fields if name.endswith("energy")), None)
        self.report = Report(name=source.info.name, checks=dict(checks))

    def fit(self) -> None:
        """Fit the energies of compositions to records spread over the data."""
        if self._energy is None or not len(self._source):
            return
        counts, energies = [], []
        for start in range(0, min(len(self._source), _FITTED), STEP):
            rows = _spread(len(self._source), _FITTED)[start : start + STEP]
            for flat, _ in self._readable(rows, (self._energy,), flag=False):
                counts.append(element_counts(flat, np.arange(len(SYMBOLS))))
                energies.append(flat.values[self._energy])
        if not counts:
            return
        every = np.concatenate(counts)
        elements = np.flatnonzero(every.any(axis=0))
        if len(every) > len(elements):
            self.report.fit = fit_composition(
                every[:, elements], np.concatenate(energies), elements=elements
            )

    def add(self, rows: IntArray, diagonalised: IntArray) -> None:
        """Take some records."""
        for flat, kept in self._readable(rows, self._fields, flag=True):
            self._take(flat, kept)
            for row in kept[np.isin(kept, diagonalised)].tolist():
                self._diagonalise(row)

    def finish(self) -> Report:
        """Compare what may be duplicates, and give the report."""
        report = self.report
        check = report.checks.get("duplicate_geometry")
        if check is not None and check.threshold is not None:
            for first, second in self._duplicates.candidates():
                one, other = self._source.read([first, second], fields=())
                difference = distance_difference(one, other)
                if difference < check.threshold:
                    remark = f"as {one.molecule_id}/{one.conformation_id}"
                    self._flag("duplicate_geometry", second, other.key, difference, remark)
        self._distribute("conformations_per_molecule", self._molecules.counts())
        report.flags.sort(key=lambda flag: (flag.row, flag.check))
        report.distributions = {
            name: report.distributions[name] for name in UNITS if name in report.distributions
        }
        return report

    def _readable(
        self, rows: IntArray, fields: Sequence[str], *, flag: bool
    ) -> Iterator[tuple[FlatRecords, IntArray]]:
        """Read records together; where one is damaged, one by one."""
        try:
            yield self._source.read_flat(rows, fields=fields), rows
        except NablaDFTError as error:
            if len(rows) == 1:
                if flag:
                    key = self._source.keys[rows[0]].tolist()
                    self._flag("unreadable", int(rows[0]), (key[0], key[1]), None, str(error))
                return
            half = len(rows) // 2
            for part in (rows[:half], rows[half:]):
                yield from self._readable(part, fields, flag=flag)

    def _take(self, flat: FlatRecords, rows: IntArray) -> None:
        report = self.report
        report.n_conformations += len(flat)
        self._molecules.add(flat.molecule_id)
        self._distribute("n_atoms", np.diff(flat.atom_offsets))
        every = np.arange(len(SYMBOLS))
        counts = element_counts(flat, every)
        for number in np.flatnonzero(counts.any(axis=0)).tolist():
            report.element_atoms[SYMBOLS[number]] += int(counts[:, number].sum())
            report.element_conformations[SYMBOLS[number]] += int((counts[:, number] > 0).sum())
        closest, repulsion = contacts_and_repulsions(flat)
        self._duplicates.add(flat, repulsion, rows)
        self._measure("closest_contact", closest, flat, rows)
        if "forces" in flat.values:
            self._distribute("force_norm", force_norms(flat))
            largest = force_maximum(flat)
            self._measure("force_maximum", largest, flat, rows)
            self._measure("net_force", net_force(flat), flat, rows)
            for k in np.flatnonzero(largest == 0.0).tolist():
                self._flag("zero_forces", int(rows[k]), _key(flat, k))
        if self._energy is not None:
            self._take_energies(flat, rows, counts)

    def _take_energies(self, flat: FlatRecords, rows: IntArray, counts: FloatArray) -> None:
        assert self._energy is not None
        energy = flat.values[self._energy]
        if self._energy == "formation_energy":
            self._distribute("formation_energy_per_atom", energy / np.diff(flat.atom_offsets))
        fit = self.report.fit
        if fit is None:
            return
        others = np.setdiff1d(np.arange(len(SYMBOLS)), fit.elements)
        known = ~counts[:, others].any(axis=1)
        for k in np.flatnonzero(~known).tolist():
            remark = "an element that hardly any record has; not fitted"
            self._flag("energy_z", int(rows[k]), _key(flat, k), None, remark)
        fitted = counts[:, fit.elements]
        with np.errstate(divide="ignore", invalid="ignore"):
            residual, z = fit.residuals(fitted, energy), fit.z_scores(fitted, energy)
        self._distribute("energy_per_atom_residual", residual[known])
        self._measure("energy_z", np.where(known, np.abs(z), 0.0), flat, rows)

    def _measure(self, name: str, values: FloatArray, flat: FlatRecords, rows: IntArray) -> None:
        self._distribute(name, values[np.isfinite(values)])
        for check in self.report.checks.values():
            if check.measure != name or check.threshold is None:
                continue
            is_out = values > check.threshold if check.side == "above" else values < check.threshold
            for k in np.flatnonzero(is_out).tolist():
                self._flag(check.name, int(rows[k]), _key(flat, k), float(values[k]))

    def _diagonalise(self, row: int) -> None:
        record = self._source.read([row], fields=("hamiltonian",))[0]
        self.report.n_eigenproblems += 1
        try:
            check_stated_hamiltonian(record)
        except NablaDFTError as error:
            self._flag("hamiltonian", row, record.key, None, str(error))
        try:
            gap = gap_of(record)
        except NablaDFTError as error:
            self._flag("eigenproblem", row, record.key, None, str(error))
            return
        self._distribute("gap", np.array([gap]))
        check = self.report.checks.get("gap")
        if check is not None and check.threshold is not None and gap < check.threshold:
            self._flag("gap", row, record.key, gap)

    def _distribute(self, name: str, values: NDArray[Any]) -> None:
        found = self.report.distributions
        if name not in found:
            found[name] = Distribution(name, UNITS[name])
        found[name].add(values)

    def _flag(
        self,
        check: str,
        row: int,
        key: tuple[int, int],
        value: float | None = None,
        remark: str = "",
    ) -> None:
        if check not in self.report.checks:
            return
        self.report.counts[check] += 1
        if self.report.counts[check] <= _KEPT:
            self.report.flags.append(Flag(check, row, *key, value=value, remark=remark))


def _key(flat: FlatRecords, k: int) -> tuple[int, int]:
    return int(flat.molecule_id[k]), int(flat.conformation_id[k])


def _spread(n: int, wanted: int | None) -> IntArray:
    """Choose rows 0 to n - 1, spread evenly."""
    if wanted is None or wanted >= n:
        return np.arange(n)
    return (
        np.unique(np.linspace(0, n - 1, wanted).round().astype(np.int64))
        if wanted
        else np.arange(0)
    )
