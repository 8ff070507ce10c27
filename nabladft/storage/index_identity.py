"""Who a molecule is: InChIKey, scaffold and substructure fingerprint, for many at once.

This is what building an index costs: half a millisecond a molecule, all of it in RDKit. Molecules
are handled in batches, in this process or in several, and only a few batches are ever in memory.

Example:
    >>> list(identities([("O", "[H][H]")]))[0][0].scaffold
    ''
"""

from __future__ import annotations

import importlib
import multiprocessing
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nabladft.storage.index_schema import FINGERPRINT_BITS, pack_inchikey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: Batches that may wait for a process, per process.
_IN_FLIGHT: Final = 3


class Identity(NamedTuple):
    """What RDKit says of a SMILES; all None without SMILES, without RDKit, or when it refuses.

    Attributes:
        inchikey: Packed, 16 bytes.
        scaffold: Canonical SMILES of the Bemis-Murcko scaffold, empty for acyclic molecules.
        fingerprint: RDKit's pattern fingerprint; bit k is bit k % 8 of byte k // 8.
    """

    inchikey: bytes | None = None
    scaffold: str | None = None
    fingerprint: bytes | None = None


UNKNOWN: Final = Identity()


def rdkit_version() -> str | None:
    """Give the version of RDKit, or None where it is not installed."""
    try:
        return str(importlib.import_module("rdkit").__version__)
    except ImportError:
        return None


def identify(batch: Sequence[str | None]) -> list[Identity]:
    """Find out who the molecules of a batch are, in this process."""
    if rdkit_version() is None:
        return [UNKNOWN] * len(batch)
    chem = importlib.import_module("rdkit.Chem")
    murcko = importlib.import_module("rdkit.Chem.Scaffolds.MurckoScaffold")
    with importlib.import_module("rdkit.rdBase").BlockLogs():
        return [_identify(smiles, chem, murcko) if smiles else UNKNOWN for smiles in batch]


def identities(
    batches: Iterable[Sequence[str | None]], *, processes: int = 1
) -> Iterator[list[Identity]]:
    """Find out who the molecules of many batches are, in their order.

    Args:
        batches: SMILES, or None where there is none.
        processes: How many processes to use besides this one; 1 uses this one only.
    """
    if processes <= 1 or rdkit_version() is None:
        yield from map(identify, batches)
        return
    # A fresh interpreter: an open SQLite connection must not be carried across a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: deque[Any] = deque()
        for batch in batches:
            waiting.append(pool.submit(identify, batch))
            if len(waiting) >= _IN_FLIGHT * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _identify(smiles: str, chem: Any, murcko: Any) -> Identity:  # noqa: ANN401 - untyped modules
    molecule = chem.MolFromSmiles(smiles)
    if molecule is None:
        return UNKNOWN
    inchikey = str(chem.MolToInchiKey(molecule))
    bits = chem.PatternFingerprint(molecule, fpSize=FINGERPRINT_BITS)
    # As nabladft.chemistry.scaffolds.scaffold_of, on a molecule that is parsed already.
    chem.RemoveStereochemistry(molecule)
    return Identity(
        inchikey=pack_inchikey(inchikey) if inchikey else None,
        scaffold=str(chem.MolToSmiles(murcko.GetScaffoldForMol(molecule))),
        fingerprint=fingerprint_bytes(bits),
    )


def fingerprint_bytes(bits: Any) -> bytes:  # noqa: ANN401 - an RDKit bit vector
    """Write an RDKit bit vector as bytes, lowest bit first."""
    data_structs = importlib.import_module("rdkit.DataStructs")
    return bytes(data_structs.BitVectToBinaryText(bits))
