"""The predictions file: what a model says about some conformations, ready to be scored.

Evaluation reads this file and the data, nothing else, so our baselines and predictions from
anywhere are scored by the same code. ``docs/predictions-format.md`` shows how to write one with
h5py alone.

Layout (HDF5, plain datasets at the root, no groups, no links)::

    molecule_id          (n,)                 integers
    conformation_id      (n,)                 integers
    atom_offsets         (n + 1,)             integers; atoms of record k are [k]:[k + 1]
    atomic_numbers       (sum n_atoms,)       integers, in the order of atoms of the prediction
    energy               (n,)                 float64, total energy; attribute unit
    forces               (sum n_atoms, 3)     float; attribute unit
    hamiltonian          (sum n_values,)      float, packed lower triangles; attributes unit,
                                              orbital_order, basis_set
    hamiltonian_offsets  (n + 1,)             integers
    overlap              (sum n_values,)      as hamiltonian, unit 1
    overlap_offsets      (n + 1,)             integers

A file needs the ids and at least one of the four quantities; the arrays of atoms are needed with
forces or a matrix, the offsets of a matrix with that matrix.

Example:
    >>> import tempfile, pathlib, numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "predictions.h5"
    >>> info = PredictionsInfo(dataset="demo", data_hash="0" * 64, model="zero")
    >>> with PredictionsWriter(path, info) as writer:
    ...     writer.append(keys=[(7, 0), (7, 1)], energy=np.array([-1.0, -2.0]))
    >>> predictions = Predictions(path)
    >>> [float(e) for e in predictions.read([(7, 1), (7, 0)]).values["energy"]]
    [-2.0, -1.0]
"""

from nabladft.predictions.format import (
    FORMAT,
    FORMAT_VERSION,
    MATRIX_FIELDS,
    PREDICTED_FIELDS,
    PredictedRecords,
    PredictionsInfo,
)
from nabladft.predictions.reader import Predictions
from nabladft.predictions.writer import PredictionsWriter

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "MATRIX_FIELDS",
    "PREDICTED_FIELDS",
    "PredictedRecords",
    "Predictions",
    "PredictionsInfo",
    "PredictionsWriter",
]
