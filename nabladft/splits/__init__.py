"""Which conformations are for training and which for testing, and the proof that nothing leaks.

A split is a small JSON file: conformation ids by part, how it was made, and a SHA-256 of the ids.
Its parts and what each of them promises:

================== ===============================================================================
part               promise
================== ===============================================================================
train              -
validation         molecules that are nowhere else
test_conformations other conformations of training molecules
test_structures    molecules that are nowhere else
test_scaffolds     molecules whose ring scaffold (Bemis-Murcko) is nowhere else; never acyclic
================== ===============================================================================

"Molecule" means the InChIKey, not the id, so that a molecule listed twice cannot be on two sides.

Published data of millions of conformations: :func:`split_of_files` takes the ids out of the files,
:func:`with_validation` and :func:`nested_subsets` cut the training part, :func:`prove` checks the
promises from an :class:`IdentityTable`, :func:`proxy_test` draws a small test from a large one.
"""

from nabladft.splits.files import read_split, write_ids, write_split
from nabladft.splits.identities import IdentityTable
from nabladft.splits.leakage import Check, check_split, require_sound
from nabladft.splits.making import SplitRecipe, make_split
from nabladft.splits.proof import Proof, prove
from nabladft.splits.proxy import expected_sampling_error, proxy_test, sampling_error
from nabladft.splits.published import split_of_files, split_of_tags
from nabladft.splits.split import PARTS, TEST_PARTS, Split
from nabladft.splits.subsets import check_nested, nested_subsets, with_validation

__all__ = [
    "PARTS",
    "TEST_PARTS",
    "Check",
    "IdentityTable",
    "Proof",
    "Split",
    "SplitRecipe",
    "check_nested",
    "check_split",
    "expected_sampling_error",
    "make_split",
    "nested_subsets",
    "prove",
    "proxy_test",
    "read_split",
    "require_sound",
    "sampling_error",
    "split_of_files",
    "split_of_tags",
    "with_validation",
    "write_ids",
    "write_split",
]
