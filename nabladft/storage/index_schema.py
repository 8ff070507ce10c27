"""The tables of a store's index, and how identities are packed into them.

Texts that repeat (formulas, scaffolds, origins of geometries) are stored once and referred to by
number; an InChIKey takes 16 bytes instead of 27. The tables are described for readers in any
language in ``docs/store-format.md``.

Example:
    >>> packed = pack_inchikey("XLYOFNOQVPJJNP-UHFFFAOYSA-N")
    >>> len(packed), unpack_inchikey(packed)
    (16, 'XLYOFNOQVPJJNP-UHFFFAOYSA-N')
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import apsw

from nabladft.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INDEX_NAME: Final = "index.sqlite"
INDEX_VERSION: Final = 2

#: "nbla" in ASCII: says that an SQLite file is such an index.
APPLICATION_ID: Final = 0x6E626C61

#: Bits of a substructure fingerprint.
FINGERPRINT_BITS: Final = 512

#: Larger pages make the trees shallower, smaller ones make single look-ups and small files cheaper.
PAGE_BYTES: Final = 8192
SMALL_PAGE_BYTES: Final = 4096

TABLES: Final = """
CREATE TABLE about (                     -- how this index was made
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE shards (
    shard INTEGER PRIMARY KEY,           -- position in the manifest
    file TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    first_row INTEGER NOT NULL,
    rows INTEGER NOT NULL
);
CREATE TABLE compositions (
    composition INTEGER PRIMARY KEY,
    formula TEXT NOT NULL UNIQUE,        -- Hill order
    n_atoms INTEGER NOT NULL,
    n_heavy_atoms INTEGER NOT NULL,      -- all but hydrogen
    n_orbitals INTEGER,                  -- null where the basis set lacks an element
    isolated_atoms_energy REAL           -- hartree; null where it is not known
);
CREATE TABLE composition_elements (
    atomic_number INTEGER NOT NULL,
    composition INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (atomic_number, composition)
) WITHOUT ROWID;
CREATE TABLE scaffolds (
    scaffold INTEGER PRIMARY KEY,
    smiles TEXT NOT NULL UNIQUE          -- Bemis-Murcko; empty for acyclic molecules
);
CREATE TABLE molecules (
    molecule_id INTEGER PRIMARY KEY,
    composition INTEGER NOT NULL,
    scaffold INTEGER,                    -- null without SMILES or RDKit, and so is inchikey
    inchikey BLOB,                       -- 16 bytes
    smiles TEXT
);
CREATE TABLE fingerprints (              -- RDKit's pattern fingerprint, for substructures
    molecule_id INTEGER PRIMARY KEY,
    bits BLOB NOT NULL
);
CREATE TABLE origins (
    origin INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE            -- how a geometry was made
);
CREATE TABLE conformations (
    molecule_id INTEGER NOT NULL,
    conformation_id INTEGER NOT NULL,
    row INTEGER NOT NULL,                -- of the store, counted over all shards
    energy REAL,                         -- hartree, of the kind that `about` names
    origin INTEGER,
    PRIMARY KEY (molecule_id, conformation_id)
) WITHOUT ROWID;
CREATE TABLE tags (
    tag INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE tagged (
    tag INTEGER NOT NULL,
    molecule_id INTEGER NOT NULL,
    conformation_id INTEGER NOT NULL,
    PRIMARY KEY (tag, molecule_id, conformation_id)
) WITHOUT ROWID;
"""

#: Made when the tables are full: sorting once is faster than inserting in random order.
SEARCH_TREES: Final = """
CREATE INDEX IF NOT EXISTS molecules_by_composition ON molecules (composition);
CREATE INDEX IF NOT EXISTS molecules_by_scaffold ON molecules (scaffold);
CREATE INDEX IF NOT EXISTS molecules_by_inchikey ON molecules (inchikey);
"""

_INCHIKEY: Final = re.compile(r"([A-Z]{14})-([A-Z]{10})-([A-Z])")


def pack_inchikey(inchikey: str) -> bytes:
    """Write the 25 letters of an InChIKey as one big-endian number to the base 26, 16 bytes.

    Keys that share their first letters (the connectivity) share their first bytes.

    Raises:
        InputError: This is not an InChIKey.
    """
    found = _INCHIKEY.fullmatch(inchikey)
    if found is None:
        message = f"{inchikey!r} is not an InChIKey (14, 10 and 1 capital letters, with dashes)."
        raise InputError(message)
    number = 0
    for letter in "".join(found.groups()):
        number = 26 * number + ord(letter) - ord("A")
    return number.to_bytes(16, "big")


def unpack_inchikey(packed: bytes) -> str:
    """Undo :func:`pack_inchikey`."""
    number, letters = int.from_bytes(packed, "big"), []
    for _ in range(25):
        number, digit = divmod(number, 26)
        letters.append(chr(ord("A") + digit))
    text = "".join(reversed(letters))
    return f"{text[:14]}-{text[14:24]}-{text[24]}"


def create_tables(connection: apsw.Connection, *, page_bytes: int) -> None:
    """Make the empty tables in a new file."""
    connection.execute(f"PRAGMA page_size = {page_bytes}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {INDEX_VERSION}")
    connection.execute(TABLES)


def check_version(connection: apsw.Connection, path: Path | str, remedy: str) -> None:
    """Refuse a file that is not an index of this version.

    Args:
        connection: To the file.
        path: Of the file, for the message.
        remedy: What to do, as a sentence.

    Raises:
        StoreError: Of an older or newer version, or no index, or damaged.
    """
    try:
        made_by = integer(connection, "PRAGMA application_id")
        version = integer(connection, "PRAGMA user_version")
        n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except apsw.Error as error:
        message = f"{path} cannot be opened ({error}). {remedy}"
        raise StoreError(message) from error
    if made_by != APPLICATION_ID or version != INDEX_VERSION or n_tables == (0,):
        old = "an older" if made_by == 0 or version < INDEX_VERSION else "a newer"
        message = (
            f"{path} cannot be opened: it is of {old} version than this nabladft reads "
            f"({INDEX_VERSION}). {remedy}"
        )
        raise StoreError(message)


def integer(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> int:
    """Give the one integer that a query finds."""
    rows: list[Any] = connection.execute(sql, tuple(bindings)).fetchall()
    return int(rows[0][0])
