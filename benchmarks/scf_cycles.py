"""Cycles of a self-consistent field that predicted Hamiltonians save, model beside model.

    python benchmarks/scf_cycles.py --data nano -n 8 runs/*/predictions-test_structures.h5
    python benchmarks/scf_cycles.py --data nano -n 8 tuned=predictions.h5 --plot cycles.png

A file may be given a name for the table, NAME=FILE. Every file is for the same part; the same
conformations are started for all, chosen by a hash of their ids. Each is started from the predicted
Hamiltonian and from PySCF's guess "minao" at equal settings, and a guarded start
(docs/electronic-structure.md) is worked out from both. A cycle is one Fock matrix. Means are over
conformations, intervals are 95 % bootstrap intervals over molecules.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nabladft
from nabladft.benchmark.drawing import STYLE, new_figure, save
from nabladft.benchmark.evaluation import orbitals_of
from nabladft.benchmark.restarts import restart_terms
from nabladft.metrics import estimate
from nabladft.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS = {"guess": "#a6a6a6", "prediction": "#0072B2", "guarded": "#009E73"}


def measure(file: str, data: str, limit: int) -> dict[str, Any]:
    """Start fields from the predictions of one file, ``path`` or ``name=path``."""
    name, _, path = file.rpartition("=")
    source, predictions = nabladft.open(data), Predictions(path)
    terms = restart_terms(
        predictions, source, predictions.keys, orbitals_of(predictions, source), limit=limit
    )
    plain, guarded = terms["scf_cycle_ratio"], terms["scf_guarded_cycle_ratio"]
    found = estimate(terms, molecule_id=predictions.keys[:, 0])
    n = int((plain.weight > 0).sum())
    return {
        "model": name or predictions.info.model,
        "part": predictions.info.part,
        "n": n,
        "guess": float(plain.weight.sum()) / n,
        "prediction": float(plain.numerator.sum()) / n,
        "guarded": float(guarded.numerator.sum()) / n,
        **{name: vars(one) for name, one in found.items()},
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Write the table."""
    columns = (
        *("model", "cycles from minao", "from the prediction", "guarded", "ratio, guarded"),
        *("worse, guarded", "energy of the density [mEh]"),
    )
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    for row in rows:
        ratio, worse = row["scf_guarded_cycle_ratio"], row["scf_guarded_worse_rate"]
        interval = ""
        if ratio["ci_low"] is not None:
            interval = f" [{ratio['ci_low']:.2f}, {ratio['ci_high']:.2f}]"
        energy = 1e3 * row["density_energy_error"]["value"]
        lines.append(
            f"| `{row['model']}` | {row['guess']:.1f} | {row['prediction']:.1f} | "
            f"{row['guarded']:.1f} | {ratio['value']:.2f}{interval} | "
            f"{round(worse['value'] * row['n'])} of {row['n']} | {energy:.3g} |"
        )
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw three bars for each model."""
    from matplotlib import rc_context  # noqa: PLC0415 - optional

    with rc_context(STYLE):
        figure, axes = new_figure(1, 1, width=1.1 + 1.1 * len(rows), height=2.7)
        axis = axes[0, 0]
        for number, (kind, colour) in enumerate(COLOURS.items()):
            places = [place + 0.26 * (number - 1) for place in range(len(rows))]
            label = {"guess": "from the guess (minao)", "prediction": "from the prediction"}
            bars = axis.bar(
                places,
                [row[kind] for row in rows],
                width=0.24,
                color=colour,
                label=label.get(kind, kind),
            )
            axis.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
        axis.set_xticks(range(len(rows)), [row["model"] for row in rows])
        axis.tick_params(axis="x", length=0)
        axis.set_ylabel("Fock matrices until converged")
        figure.legend(loc="outside upper center", ncols=3)
        save(figure, path)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", nargs="+", help="predictions files (.h5) of one part")
    parser.add_argument("--data", required=True, help="data set name, store folder or file")
    parser.add_argument("-n", type=int, default=8, help="conformations to start (default: 8)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--markdown", type=Path, help="file for the table")
    parser.add_argument("--plot", type=Path, help="picture (.png)")
    args = parser.parse_args()
    rows = []
    for path in args.predictions:
        rows.append(measure(path, args.data, args.n))
        print(f"{rows[-1]['model']}: {rows[-1]['guarded']:.1f} of {rows[-1]['guess']:.1f} cycles")
    text = markdown(rows)
    print(f"\n{text}")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if args.plot:
        draw(rows, args.plot)


if __name__ == "__main__":
    main()
