"""How far the MAE over a proxy test is from the MAE over the whole, beside a random sample.

The population imitates a published test set: sizes of 8 to 62 atoms around 42, 6.5 conformations a
molecule, the elements of drug-like molecules, a quarter as many scaffolds as molecules. The error
of a conformation is a product of what models show on real data: growth with size, a factor for
each rare element, and random factors of its scaffold, its molecule and itself. Many proxies are
drawn; the root mean square of what they miss is compared with the error stated beforehand
(``expected_sampling_error``), with random samples of as many conformations, and with samples of
whole molecules.

    python benchmarks/proxy_tests.py
    python benchmarks/proxy_tests.py --conformations 1150000 --draws 20
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from nabladft.splits import expected_sampling_error, proxy_test
from nabladft.storage.flat import FlatRecords, Texts
from nabladft.storage.source import ConformationSource, SourceInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nabladft.conformation import Conformation

#: Share of drug-like molecules with each of the rarer elements.
RARE = {9: 0.25, 16: 0.30, 17: 0.15, 35: 0.05}

#: How much larger errors are with it.
FACTOR = {9: 1.2, 16: 1.3, 17: 1.2, 35: 1.6}


class Population(ConformationSource):
    """Conformations without geometry: what drawing a proxy looks at, and nothing else."""

    def __init__(self, n_conformations: int) -> None:
        """Draw molecules and errors."""
        rng = np.random.default_rng(0)
        counts = rng.geometric(1 / 6.5, size=n_conformations)
        counts = counts[: int(np.searchsorted(np.cumsum(counts), n_conformations))]
        n = len(counts)
        self.molecule = np.repeat(np.arange(n), counts)
        self.size = np.clip(rng.normal(42, 7, size=n).round(), 8, 62).astype(np.int64)
        self.has = {z: rng.random(n) < share for z, share in RARE.items()}
        self.scaffold = rng.integers(0, max(1, n // 4), size=n)
        of_scaffold = rng.lognormal(0, 0.25, size=n)[self.scaffold]
        of_molecule = self.size * of_scaffold * rng.lognormal(0, 0.35, size=n)
        for z, present in self.has.items():
            of_molecule *= np.where(present, FACTOR[z], 1.0)
        self.errors = of_molecule[self.molecule] * rng.gamma(2.0, size=len(self.molecule))
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self._keys = np.stack(
            [self.molecule, np.arange(len(self.molecule)) - np.repeat(first, counts)], axis=1
        )

    @property
    def info(self) -> SourceInfo:
        """Name."""
        return SourceInfo(name="population", fields=())

    def __len__(self) -> int:
        """Number of conformations."""
        return len(self.molecule)

    @property
    def keys(self) -> NDArray[np.int64]:
        """Ids."""
        return self._keys

    @property
    def n_atoms(self) -> NDArray[np.int64]:
        """Sizes."""
        return self.size[self.molecule]

    @property
    def data_hash(self) -> str:
        """No contents, no hash."""
        raise NotImplementedError

    def read(
        self, indices: Sequence[int] | NDArray[np.int64], *, fields: Sequence[str] | None = None
    ) -> list[Conformation]:
        """There are no records."""
        raise NotImplementedError

    def read_texts(self, indices: Sequence[int] | NDArray[np.int64]) -> Texts:
        """There are no words."""
        raise NotImplementedError

    def read_flat(
        self, indices: Sequence[int] | NDArray[np.int64], *, fields: Sequence[str] | None = None
    ) -> FlatRecords:
        """Five atoms a conformation: carbon, and the rare elements that it has."""
        del fields
        rows = np.asarray(indices)
        numbers = np.full((len(rows), 1 + len(RARE)), 6, dtype=np.int32)
        for column, (z, present) in enumerate(self.has.items()):
            numbers[present[self.molecule[rows]], 1 + column] = z
        return FlatRecords(
            molecule_id=self.molecule[rows],
            conformation_id=self._keys[rows, 1],
            atom_offsets=np.arange(0, numbers.size + 1, numbers.shape[1]),
            atomic_numbers=numbers.ravel(),
            positions=np.zeros((numbers.size, 3)),
            orbital_counts=np.zeros(len(rows), dtype=np.int64),
            values={},
        )


def main() -> None:
    """Draw, compare, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conformations", type=int, default=50_000, help="of the whole test")
    parser.add_argument("--draws", type=int, default=100, help="proxies of each size")
    args = parser.parse_args()
    whole = Population(args.conformations)
    mean, spread = whole.errors.mean(), whole.errors.std() / whole.errors.mean()
    scaffolds = dict(enumerate(whole.scaffold.tolist()))
    rows_of = {tuple(key): row for row, key in enumerate(whole.keys.tolist())}
    print(f"{len(whole):,} conformations; errors spread {spread:.2f} times their mean\n")
    print("| proxy | missed by a random sample | by whole molecules | by the proxy | stated |")
    print("|---:|---:|---:|---:|---:|")
    rng = np.random.default_rng(1)
    for n in (500, 1000, 2000, 5000):
        missed: dict[str, list[float]] = {"random": [], "molecules": [], "proxy": []}
        for seed in range(args.draws):
            split = proxy_test(
                whole, n, part="test_structures", name="p", seed=seed, scaffolds=scaffolds
            )
            rows = [rows_of[tuple(key)] for key in split.part("test_structures").tolist()]
            missed["proxy"].append(whole.errors[rows].mean() / mean - 1)
            rows = rng.choice(len(whole), size=n, replace=False)
            missed["random"].append(whole.errors[rows].mean() / mean - 1)
            molecules = rng.permutation(whole.molecule[-1] + 1)[: round(n / 6.5)]
            rows = np.flatnonzero(np.isin(whole.molecule, molecules))
            missed["molecules"].append(whole.errors[rows].mean() / mean - 1)
        rms = {how: np.sqrt(np.mean(np.square(values))) for how, values in missed.items()}
        stated = expected_sampling_error(n, len(whole), spread=spread)
        print(
            f"| {n} | {rms['random']:.2%} | {rms['molecules']:.2%} | {rms['proxy']:.2%} "
            f"| {stated:.2%} |"
        )


if __name__ == "__main__":
    main()
