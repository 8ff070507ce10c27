"""Does the guard of restarted fields keep its promise? Cycles with and without it, by error.

Hamiltonians of a data set are spoilt in two ways: by random symmetric noise, and by mixing in some
of the Fock matrix of an initial guess, whose errors are smooth as a model's may be. From each, the
field is started with and without the guard, and compared with the guess "minao".

    python benchmarks/restart_guard.py                            # quick settings, six molecules
    python benchmarks/restart_guard.py --settings labels --molecules 3
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from tqdm import tqdm

from nabladft.chemistry.orbitals import orbital_order_named, reorder_orbitals
from nabladft.labels.guesses import guess_hamiltonian
from nabladft.labels.restart import compare_starts
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation
    from nabladft.labels.restart import StartComparison

    FloatArray = NDArray[np.float64]

#: Standard deviation of the noise, hartree, and share of the guess.
NOISE: Final = (0.0, 3e-4, 1e-3, 2e-3, 4e-3, 1e-2, 1e-1)
SHARES: Final = (0.1, 0.3, 1.0)
GUESSES: Final = ("minao", "sap")


@dataclass(frozen=True)
class _Case:
    name: str
    error: float  # mean absolute, hartree
    result: StartComparison


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", nargs="?", default="nano")
    parser.add_argument("--molecules", type=int, default=6)
    parser.add_argument("--settings", default="quick")
    options = parser.parse_args()

    source = open_source(options.source)
    first_rows = np.unique(source.keys[:, 0], return_index=True)[1]
    chosen = first_rows[np.linspace(0, len(first_rows) - 1, options.molecules).astype(int)]
    cases = [
        case
        for record in tqdm(source.read(chosen.tolist()), unit="molecule")
        for case in _cases(record, options.settings)
    ]
    by_name = defaultdict(list)
    for case in cases:
        by_name[case.name].append(case)
    print(f"{len(chosen)} molecules of {options.source}, settings {options.settings!r}")
    print("prediction         MAE (mEh)  guess  unguarded  guarded  used  worse  worse by > 1")
    for name, found in by_name.items():
        print(_row(name, found))
    print(_row("all", cases))


def _cases(record: Conformation, settings: str) -> Iterator[_Case]:
    numbers, positions = record.atomic_numbers, record.positions
    H = record.require("hamiltonian")
    order = orbital_order_named(record.orbital_order or "")
    predictions = {}
    noise = np.random.default_rng(0).normal(size=H.shape)
    for scale in NOISE:
        predictions[f"noise {scale:g}"] = H + scale * (noise + noise.T) / 2**0.5
    for guess in GUESSES:
        ascending = guess_hamiltonian(numbers, positions, method=guess)
        fock = reorder_orbitals(ascending, numbers, source="ascending", target=order)
        for share in SHARES:
            predictions[f"{share:g} of {guess}"] = H + share * (fock - H)
    for name, predicted in predictions.items():
        result = compare_starts(
            numbers, positions, predicted, orbital_order=order, settings=settings
        )
        yield _Case(name, float(np.abs(predicted - H).mean()), result)


def _row(name: str, cases: list[_Case]) -> str:
    excess = np.array([case.result.guarded_cycles - case.result.guess_cycles for case in cases])
    means = [
        np.mean([getattr(case.result, f"{kind}_cycles") for case in cases])
        for kind in ("guess", "predicted", "guarded")
    ]
    used = sum(case.result.used_prediction for case in cases)
    error = 1e3 * np.mean([case.error for case in cases])
    return (
        f"{name:18s} {error:9.3f}  {means[0]:5.1f}  {means[1]:9.1f}  {means[2]:7.1f}  "
        f"{used:4d}  {int((excess > 0).sum()):5d}  {int((excess > 1).sum()):5d} of {len(cases)}"
    )


if __name__ == "__main__":
    main()
