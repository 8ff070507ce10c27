"""Which molecules match a SMARTS pattern: ask little of RDKit, and in several processes if wanted.

A pattern is compared with few molecules: those that hold the elements which it needs, that have the
bits of its fingerprint, and that fulfil the rest of the query.

Example:
    >>> required_elements("c1ccccc1Br")
    {6: 6, 35: 1}
    >>> required_elements("[C,N]~[!#6]")
    {}
"""

from __future__ import annotations

import importlib
import multiprocessing
import re
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.elements import atomic_number
from nabladft.errors import QueryError, UnsupportedElementError, missing_extra
from nabladft.storage.index_identity import fingerprint_bytes, rdkit_version
from nabladft.storage.index_schema import FINGERPRINT_BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nabladft.storage.index_reading import Index

#: Molecules compared with a pattern in one go.
_BATCH: Final = 2000
#: Below this many candidates, starting processes takes longer than comparing.
_WORTH_PROCESSES: Final = 20_000
_IN_FLIGHT: Final = 3

#: An atom of a pattern that can be one element only: no lists, negations or nested patterns.
_ONE_ELEMENT: Final = re.compile(
    r"(?P<bare>Cl|Br|[BCNOFPSI]|[bcnops])"
    r"|\[(?:\d+)?(?:#(?P<number>\d+)|(?P<symbol>Cl|Br|[BCNOFPSIbcnops](?![a-z])))[^,;!$]*\]"
)


def check_smarts(smarts: str) -> None:
    """Refuse what is not a pattern.

    Raises:
        QueryError: RDKit cannot read it.
        MissingExtraError: RDKit is not installed.
    """
    _pattern(smarts)


def required_elements(smarts: str) -> dict[int, int]:
    """Count atoms that any match must have, by atomic number; hydrogen is not counted."""
    counts: Counter[int] = Counter()
    for atom in _pattern(smarts).GetAtoms():
        found = _ONE_ELEMENT.fullmatch(atom.GetSmarts())
        if found is None:
            continue
        symbol = found["bare"] or found["symbol"]
        try:
            number = int(found["number"]) if symbol is None else atomic_number(symbol.capitalize())
        except UnsupportedElementError:
            continue
        if number > 1:
            counts[number] += 1
    return dict(sorted(counts.items()))


def matching_molecules(
    index: Index,
    smarts: str,
    candidates: str,
    bindings: Sequence[Any],
    *,
    processes: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[int]:
    """Find the molecules that match.

    Args:
        index: Of the data.
        smarts: A pattern.
        candidates: SQL that selects the molecule_id of those to compare.
        bindings: Of that SQL.
        processes: Processes for RDKit; 1 uses this one.
        progress: Called with "substructure", how many were compared, and how many there are.

    Yields:
        molecule_id, ascending.
    """
    wanted = _fingerprint(index, smarts)
    ids = np.fromiter(
        _screened(index, wanted, candidates, bindings)
        if wanted is not None
        else (row[0] for row in index.connection.execute(candidates, tuple(bindings))),
        dtype=np.int64,
    )
    ids.sort()
    batches = (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
    done = 0
    with_smiles = (_with_smiles(index, batch) for batch in batches)
    for n_compared, found in _compared(
        smarts, with_smiles, processes if len(ids) > _WORTH_PROCESSES else 1
    ):
        yield from found
        done += n_compared
        if progress is not None:
            progress("substructure", done, len(ids))


def match(smarts: str, molecules: Sequence[tuple[int, str]]) -> list[int]:
    """List those of some molecules (molecule_id, SMILES) that match a pattern."""
    chem = importlib.import_module("rdkit.Chem")
    pattern = _pattern(smarts)
    found = []
    with importlib.import_module("rdkit.rdBase").BlockLogs():
        for molecule_id, smiles in molecules:
            molecule = chem.MolFromSmiles(smiles)
            if molecule is not None and molecule.HasSubstructMatch(pattern):
                found.append(molecule_id)
    return found


def _compared(
    smarts: str, batches: Iterable[list[tuple[int, str]]], processes: int
) -> Iterator[tuple[int, list[int]]]:
    if processes <= 1:
        for batch in batches:
            yield len(batch), match(smarts, batch)
        return
    context = multiprocessing.get_context("spawn")  # SQLite must not be carried across a fork
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: deque[tuple[int, Any]] = deque()
        for batch in batches:
            waiting.append((len(batch), pool.submit(partial(match, smarts), batch)))
            if len(waiting) >= _IN_FLIGHT * processes:
                n_compared, future = waiting.popleft()
                yield n_compared, future.result()
        for n_compared, future in waiting:
            yield n_compared, future.result()


def _screened(
    index: Index, wanted: np.ndarray[Any, Any], candidates: str, bindings: Sequence[Any]
) -> Iterator[int]:
    """Give the candidates whose fingerprint has all bits of the pattern's."""
    sql = (
        "SELECT f.molecule_id, f.bits FROM fingerprints AS f"  # noqa: S608 - compiled by us
        f" WHERE f.molecule_id IN ({candidates})"
    )
    cursor = index.connection.execute(sql, tuple(bindings))
    while rows := list(islice(cursor, 20_000)):
        bits = np.frombuffer(b"".join(row[1] for row in rows), dtype=np.uint8)
        has_all = ((bits.reshape(len(rows), -1) & wanted) == wanted).all(axis=1)
        yield from (rows[k][0] for k in np.flatnonzero(has_all).tolist())


def _with_smiles(index: Index, ids: np.ndarray[Any, Any]) -> list[tuple[int, str]]:
    sql = "SELECT smiles FROM molecules WHERE molecule_id = ?"
    cursor = index.connection.cursor()
    rows = ((number, cursor.execute(sql, (number,)).fetchone()) for number in ids.tolist())
    return [(number, row[0]) for number, row in rows if row is not None and row[0] is not None]


def _fingerprint(index: Index, smarts: str) -> np.ndarray[Any, Any] | None:
    """Give the bits that any match has; None where the index has none of this RDKit."""
    if index.about().get("rdkit") != rdkit_version():
        return None
    chem = importlib.import_module("rdkit.Chem")
    bits = chem.PatternFingerprint(_pattern(smarts), fpSize=FINGERPRINT_BITS)
    return np.frombuffer(fingerprint_bytes(bits), dtype=np.uint8)


def _pattern(smarts: str) -> Any:  # noqa: ANN401 - untyped
    try:
        chem = importlib.import_module("rdkit.Chem")
    except ImportError as error:
        raise missing_extra("Searching for substructures", "chem", error) from error
    with importlib.import_module("rdkit.rdBase").BlockLogs():
        pattern = chem.MolFromSmarts(smarts) if smarts else None
    if pattern is None:
        message = f"{smarts!r} is not a SMARTS pattern."
        raise QueryError(message)
    # Ring sizes and the like are looked up in the pattern when its fingerprint is made.
    pattern.UpdatePropertyCache(strict=False)
    chem.FastFindRings(pattern)
    return pattern
