"""Recompute published records and say how far our labels are from theirs.

Each record takes minutes, so results are appended to ``docs/parity.csv`` one by one and a record
that is there is not computed again: stop and restart at will. The table of ``docs/parity.md`` is
brought up to date after each.

    python benchmarks/parity.py energy_sample.db              # ROWS
    python benchmarks/parity.py energy_sample.db --rows 13 26 # these
    python benchmarks/parity.py --table-only
"""

from __future__ import annotations

import argparse
import csv
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nabladft.chemistry.elements import formula
from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM
from nabladft.labels.backend import load_backend
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.conformation import Conformation
    from nabladft.labels.backend import LabelBackend

TABLE = Path(__file__).resolve().parents[1] / "docs" / "parity.csv"
COLUMNS = (
    "molecule_id",
    "conformation_id",
    "formula",
    "smiles",
    "n_orbitals",
    "energy_difference_hartree",
    "forces_max_difference_hartree_per_angstrom",
    "forces_rms_difference_hartree_per_angstrom",
    "net_force_published_hartree_per_angstrom",
    "net_force_ours_hartree_per_angstrom",
    "n_scf_cycles",
    "cpu_seconds",
    "program",
)
#: Rows of the published sample of 50: its smallest molecules, such that F, S and Cl are covered.
ROWS = (13, 26, 14, 43, 15, 7)
#: Lines of the page between which the table stands.
BEGIN, END = "<!-- table: benchmarks/parity.py -->", "<!-- end of table -->"


def compare(record: Conformation, backend: LabelBackend) -> dict[str, Any]:
    """Label one published record again.

    Args:
        record: With total energy and forces, in atomic units.
        backend: Makes our labels.

    Returns:
        One row of the table: ours minus published; norms for the net forces.
    """
    start = time.process_time()
    ours = backend.label(record.atomic_numbers, record.positions)
    forces, published = (
        np.asarray(values) / PUBLISHED_BOHR_IN_ANGSTROM for values in (ours.forces, record.forces)
    )
    level = backend.level_of_theory
    values = (
        record.molecule_id,
        record.conformation_id,
        formula(record.atomic_numbers),
        record.smiles,
        len(ours.hamiltonian),
        f"{ours.energy - record.energy:.2e}",
        f"{np.abs(forces - published).max():.2e}",
        f"{np.sqrt(np.mean((forces - published) ** 2)):.2e}",
        f"{np.linalg.norm(published.sum(axis=0)):.2e}",
        f"{np.linalg.norm(forces.sum(axis=0)):.2e}",
        ours.n_scf_cycles,
        f"{time.process_time() - start:.0f}",
        f"{level.program} {level.program_version}",
    )
    return dict(zip(COLUMNS, values, strict=True))


def read_table() -> list[dict[str, str]]:
    """Read the rows computed so far."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def to_markdown(rows: Sequence[dict[str, str]]) -> str:
    """Lay the rows out for ``docs/parity.md``, with the worst and the median at the end."""
    header = (
        "molecule, atoms, orbitals, energy, forces max, forces rms, net force published, "
        "net force ours"
    ).split(", ")
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    numeric = COLUMNS[5:10]
    for row in rows:
        atoms = sum(int(count or 1) for count in _counts(row["formula"]))
        cells = [f"{row['molecule_id']}/{row['conformation_id']} {row['formula']}", str(atoms)]
        cells += [row["n_orbitals"], *(row[name] for name in numeric)]
        lines.append(f"| {' | '.join(cells)} |")
    for name, summary in (("median", np.median), ("largest", np.max)):
        values = [summary([abs(float(row[column])) for row in rows]) for column in numeric]
        lines.append(f"| {name}, absolute | | | {' | '.join(f'{v:.2e}' for v in values)} |")
    return "\n".join(lines)


def update_page() -> None:
    """Replace the table in ``docs/parity.md``."""
    page = TABLE.with_suffix(".md")
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    table = to_markdown(read_table())
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def _counts(name: str) -> list[str]:
    return re.findall(r"[A-Z][a-z]?(\d*)", name)


def main() -> None:
    """Compute what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="published energy file")
    parser.add_argument("--rows", type=int, nargs="*", help="rows of the file, from 0")
    parser.add_argument("--table-only", action="store_true", help="compute nothing")
    arguments = parser.parse_args()
    if not arguments.table_only:
        if arguments.file is None:
            parser.error("a published energy file is needed (or --table-only)")
        source = open_source(arguments.file)
        backend = load_backend("pyscf")
        for record in source.read(arguments.rows or ROWS):
            key = (str(record.molecule_id), str(record.conformation_id))
            if key in {(row["molecule_id"], row["conformation_id"]) for row in read_table()}:
                continue
            result = compare(record, backend)
            is_new = not TABLE.exists()
            with TABLE.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if is_new:
                    writer.writeheader()
                writer.writerow(result)
            print(result, flush=True)
            update_page()
    update_page()
    print(to_markdown(read_table()))


if __name__ == "__main__":
    main()
