"""Write the numbers and the figure of the data card of an embedded data set from the store itself.

Run it from the root of the repository after a data set was made again:

    python docs/datasets/card.py nano

It replaces what is between the markers in ``docs/datasets/nano.md``, draws
``docs/images/nano.png``, and writes the card that travels with the data,
``nabladft/datasets/nano/README.md``.
"""  # noqa: INP001 - a script

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

import nabladft
from nabladft.chemistry.electronic import homo_lumo_gap
from nabladft.chemistry.elements import SYMBOLS
from nabladft.chemistry.scaffolds import scaffold_of
from nabladft.chemistry.units import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.conformation import Conformation
    from nabladft.storage.source import ConformationSource

ROOT = Path(__file__).resolve().parents[2]
_NUMBERS = re.compile(r"(<!-- numbers -->\n).*(<!-- end of numbers -->)", re.DOTALL)


def main(name: str) -> None:
    """Write card, figure and the README of the store of a data set."""
    store = ROOT / "nabladft" / "datasets" / name
    card = ROOT / "docs" / "datasets" / f"{name}.md"
    source = nabladft.open(store)
    records = list(source)
    text = card.read_text(encoding="utf-8")
    text = _NUMBERS.sub(lambda match: match[1] + numbers(source, records, store) + match[2], text)
    card.write_text(text, encoding="utf-8")
    draw(records, ROOT / "docs" / "images" / f"{name}.png")
    # The store is also read where the rest of the repository is not.
    alone = re.sub(r"^!\[.*\n+", "", text, flags=re.MULTILINE)
    alone = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", alone)
    (store / "README.md").write_text(alone, encoding="utf-8")


def numbers(source: ConformationSource, records: Sequence[Conformation], store: Path) -> str:
    """Return the tables of the card, as Markdown."""
    smiles = source.smiles()
    scaffolds = Counter(scaffold_of(text) for text in smiles.values())
    n_acyclic = scaffolds.pop("", 0)
    n_shared = sum(n > 1 for n in scaffolds.values())
    per_molecule = Counter(record.molecule_id for record in records)
    n_bytes = sum(path.stat().st_size for path in store.iterdir() if path.name != "README.md")
    level = source.info.details["level_of_theory"]
    lines = [
        "| | |",
        "|---|---|",
        f"| conformations | {len(records)} |",
        f"| molecules | {len(smiles)} |",
        f"| conformations per molecule | {_range(list(per_molecule.values()))} |",
        f"| atoms | {_range([r.n_atoms for r in records])} |",
        f"| orbitals | {_range([len(r.require('orbital_energies')) for r in records])} |",
        f"| ring scaffolds (Bemis-Murcko) | {len(scaffolds)}, {n_shared} with several molecules |",
        f"| molecules without a ring | {n_acyclic} |",
        f"| size on disk | {n_bytes / 1e6:.1f} MB |",
        f"| data hash | `{source.data_hash[:16]}` |",
        f"| program | {level['program']} {level['program_version']} |",
        f"| geometries | RDKit {source.info.details['rdkit']} |",
        "",
        "| origin of the geometry | conformations |",
        "|---|---:|",
        *(
            f"| {name} | {n} |"
            for name, n in Counter(record.geometry_origin for record in records).most_common()
        ),
        "",
        "| element | molecules | conformations | atoms |",
        "|---|---:|---:|---:|",
        *_element_rows(records),
        "",
        "| quantity | unit | 5 % | median | 95 % |",
        "|---|---|---:|---:|---:|",
        *(
            f"| {name} | {unit} | "
            + " | ".join(f"{v:.3g}" for v in np.percentile(x, [5, 50, 95]))
            + " |"
            for name, unit, x in distributions(records)
        ),
        "",
    ]
    return "\n".join(lines)


def distributions(records: Sequence[Conformation]) -> list[tuple[str, str, np.ndarray]]:
    """Return name, unit and values of the quantities that the card tells about."""
    formation = [
        convert(r.require("formation_energy"), source="hartree", target="eV") / r.n_atoms
        for r in records
    ]
    gaps = [
        convert(
            homo_lumo_gap(r.require("orbital_energies"), int(r.atomic_numbers.sum())),
            source="hartree",
            target="eV",
        )
        for r in records
    ]
    forces = np.concatenate([r.require("forces").ravel() for r in records])
    dipoles = [np.linalg.norm(r.require("dipole")) for r in records]
    return [
        ("formation energy per atom", "eV", np.array(formation)),
        ("energy above the molecule's lowest", "kcal/mol", relative_energies(records)),
        (
            "force component, absolute",
            "eV/Å",
            np.abs(convert(forces, source="hartree/bohr", target="eV/angstrom")),
        ),
        ("dipole moment", "D", np.array(dipoles) / convert(1.0, source="debye", target="e*bohr")),
        ("HOMO-LUMO gap", "eV", np.array(gaps)),
    ]


def relative_energies(records: Sequence[Conformation]) -> np.ndarray:
    """Return energies above the lowest conformation of the same molecule, kcal/mol, (n,)."""
    lowest: dict[int, float] = {}
    for record in records:
        energy = record.require("energy")
        lowest[record.molecule_id] = min(energy, lowest.get(record.molecule_id, energy))
    above = np.array([r.require("energy") - lowest[r.molecule_id] for r in records])
    return convert(above, source="hartree", target="kcal/mol")


def draw(records: Sequence[Conformation], path: Path) -> None:
    """Draw the distributions into a PNG file."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of the backend

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(2, 3, figsize=(10, 5.4), layout="constrained")
    blue, orange = "#2b6ca3", "#d9822b"
    sizes, counts = np.unique([r.n_atoms for r in records], return_counts=True)
    axes[0, 0].bar(sizes, counts, color=blue)
    axes[0, 0].set(xlabel="atoms", ylabel="conformations")
    present = _molecules_by_element(records)
    names = [SYMBOLS[number] for number in present]
    bars = axes[0, 1].bar(names, [len(found) for found in present.values()], color=blue)
    axes[0, 1].bar_label(bars, fontsize=7)
    axes[0, 1].set(xlabel="element", ylabel="molecules that have it")
    is_displaced = np.array([(r.geometry_origin or "").startswith("thermal") for r in records])
    series = {name: (unit, values) for name, unit, values in distributions(records)}
    groups = {"conformers (ETKDG)": ~is_displaced, "thermal": is_displaced}
    unit, above = series["energy above the molecule's lowest"]
    _overlaid(axes[0, 2], {k: above[mask & (above > 0)] for k, mask in groups.items()})
    axes[0, 2].set(xlabel=f"energy above the lowest, {unit}", ylabel="other conformations")
    forces = {
        label: np.concatenate(
            [
                np.linalg.norm(
                    convert(r.require("forces"), source="hartree/bohr", target="eV/angstrom"),
                    axis=1,
                )
                for r, chosen in zip(records, mask, strict=True)
                if chosen
            ]
        )
        for label, mask in groups.items()
    }
    _overlaid(axes[1, 0], forces)
    axes[1, 0].set(xlabel="force on an atom, eV/Å", ylabel="atoms")
    for axis, name, colour in (
        (axes[1, 1], "HOMO-LUMO gap", blue),
        (axes[1, 2], "dipole moment", orange),
    ):
        unit, values = series[name]
        axis.hist(values, bins=30, color=colour)
        axis.set(xlabel=f"{name}, {unit}", ylabel="conformations")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)


def _overlaid(axis: object, groups: dict[str, np.ndarray]) -> None:
    top = max(np.percentile(values, 99.5) for values in groups.values())
    for (label, values), colour in zip(groups.items(), ("#2b6ca3", "#d9822b"), strict=True):
        axis.hist(values, bins=np.linspace(0, top, 40), alpha=0.65, label=label, color=colour)
    axis.legend(frameon=False)


def _molecules_by_element(records: Sequence[Conformation]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for record in records:
        for number in set(record.atomic_numbers.tolist()):
            found.setdefault(number, set()).add(record.molecule_id)
    return dict(sorted(found.items()))


def _element_rows(records: Sequence[Conformation]) -> list[str]:
    atoms = Counter(number for r in records for number in r.atomic_numbers.tolist())
    conformations = Counter(n for r in records for n in set(r.atomic_numbers.tolist()))
    return [
        f"| {SYMBOLS[n]} | {len(molecules)} | {conformations[n]} | {atoms[n]} |"
        for n, molecules in _molecules_by_element(records).items()
    ]


def _range(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}, mean {np.mean(values):.1f}"


if __name__ == "__main__":
    main(*sys.argv[1:])
