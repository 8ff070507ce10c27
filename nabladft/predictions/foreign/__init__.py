"""Predictions in formats of others, turned into the one format that is scored.

``.npz`` files as the OMol25 leaderboard takes them (:mod:`.npz`), and extended xyz with energies
and forces (:mod:`.extxyz`). Scoring reads HDF5 only; a file is converted once, with its units said,
and checked against the data (:func:`import_predictions`). Pickles are never read.
"""

from nabladft.predictions.foreign.importing import import_predictions

__all__ = ["import_predictions"]
