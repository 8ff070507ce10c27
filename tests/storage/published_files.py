"""Writers of the published file formats, for tests of their readers only.

The schemas are those of the published files: ASE's SQLite back end with labels in ``data``, and the
tables of the Hamiltonian databases.
"""

import apsw
import ase
import ase.db
import numpy as np

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM as ANGSTROM

METADATA = {
    "_distance_unit": "Ang",
    "_property_unit_dict": {"energy": "Hartree", "forces": "Hartree/Ang"},
}

HAMILTONIAN_SCHEMA = """
CREATE TABLE dataset_ids (id INTEGER NOT NULL PRIMARY KEY, MOSES_ID INT, CONFORMER_ID INT);
CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, Z BLOB, R BLOB, E FLOAT, F BLOB, H BLOB,
                   S BLOB, C BLOB);
CREATE TABLE nuclear_charges (id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB);
CREATE TABLE basisset (Z INTEGER NOT NULL PRIMARY KEY, orbitals BLOB);
CREATE TABLE metadata (id INTEGER PRIMARY KEY, N INTEGER);
"""


def write_energy_file(
    path, records, *, energy="formation_energy", metadata=METADATA, length=ANGSTROM, iterations=None
):
    """Write records as ASE does; ``length`` is one bohr in the unit of length of the file.

    With ``iterations``, one a record, as the trajectory files are.
    """
    with ase.db.connect(path, type="db") as database:
        for number, record in enumerate(records):
            atoms = ase.Atoms(numbers=record.atomic_numbers, positions=length * record.positions)
            data = {"energy": [getattr(record, energy)]}
            if record.forces is not None:
                data["forces"] = record.forces / length
            pairs = {"moses_id": record.molecule_id, "conformation_id": record.conformation_id}
            if iterations is not None:
                pairs["iteration"] = iterations[number]
            if record.smiles is not None:
                pairs["smiles"] = record.smiles
            database.write(atoms, key_value_pairs=pairs, data=data)
    if metadata is not None:
        database.metadata = metadata
    return path


def write_hamiltonian_file(path, records, *, energy="energy", first_id=0):
    """Write records as float32; a label that a record lacks becomes NULL."""
    connection = apsw.Connection(str(path))
    connection.execute(HAMILTONIAN_SCHEMA)
    elements = np.unique(np.concatenate([record.atomic_numbers for record in records]))
    connection.execute(
        "INSERT INTO nuclear_charges VALUES (0, ?, ?)",
        (len(elements), elements.astype("<i4").tobytes()),
    )
    for number in elements.tolist():
        shells = np.array(DEF2_SVP.shells[number], dtype="<i4").tobytes()
        connection.execute("INSERT INTO basisset VALUES (?, ?)", (number, shells))
    connection.execute("INSERT INTO metadata VALUES (0, ?)", (len(records),))
    for number, record in enumerate(records, start=first_id):
        connection.execute("INSERT INTO dataset_ids VALUES (?, ?, ?)", (number, *record.key))
        labels = (record.forces, record.hamiltonian, record.overlap, record.core_hamiltonian)
        connection.execute(
            "INSERT INTO data VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                record.atomic_numbers.astype("<i4").tobytes(),
                record.positions.astype("<f4").tobytes(),
                getattr(record, energy),
                *(None if value is None else value.astype("<f4").tobytes() for value in labels),
            ),
        )
    connection.close()
    return path


def execute(path, sql, bindings=()):
    """Change a file."""
    connection = apsw.Connection(str(path))
    connection.execute(sql, bindings)
    connection.close()
