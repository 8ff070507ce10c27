"""Processor time of the forces of a label: PySCF's own gradient beside ours, of the same field.

    OMP_NUM_THREADS=1 python benchmarks/label_gradients.py --data nano --largest 1

The field is converged first, as for a label. PySCF's gradient is used as it is, with its Cholesky
factorisation of the long-range metric, which costs the same as ours and is less precise
(``nabladft/labels/fitting.py``): the difference of the two is printed, and tests compare with the
same metric.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pyscf.df.grad import rks as fitted

import nabladft
from nabladft.labels.fitting import AUXILIARY_BASIS, SafeFitting
from nabladft.labels.gradients import FittedGradients
from nabladft.labels.kohn_sham import build_molecule, kohn_sham_field

if TYPE_CHECKING:
    from numpy.typing import NDArray


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="nano", help="geometries (default: nano)")
    parser.add_argument("--largest", type=int, default=1, help="how many (default: 1)")
    args = parser.parse_args()

    source = nabladft.open(args.data)
    records = sorted(source, key=lambda record: -int(record.atomic_numbers.sum()))
    print("| atoms | orbitals | field [s] | PySCF [s] | here [s] | ratio | difference [Eh/bohr] |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for record in records[: args.largest]:
        mol = build_molecule(record.atomic_numbers, record.positions, charge=0, max_memory=6000)
        fitting = SafeFitting(mol, AUXILIARY_BASIS)
        fitting.max_memory = 6000
        field = kohn_sham_field(mol, fitting)
        _, field_seconds = timed(field)
        theirs, their_seconds = timed(fitted.Gradients(field))
        ours, our_seconds = timed(FittedGradients(field))
        print(
            f"| {mol.natm} | {mol.nao} | {field_seconds:.1f} | {their_seconds:.1f} | "
            f"{our_seconds:.1f} | {their_seconds / our_seconds:.1f} | "
            f"{np.abs(ours - theirs).max():.1e} |"
        )


def timed(calculation: Any) -> tuple[NDArray[np.float64], float]:  # noqa: ANN401 - no types
    """Run PySCF's ``kernel`` and return its result and the processor time in seconds."""
    start = time.process_time()
    result = calculation.kernel()
    return result, time.process_time() - start


if __name__ == "__main__":
    main()
