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
"""

from nabladft.splits.leakage import Check, check_split, require_sound
from nabladft.splits.making import SplitRecipe, make_split
from nabladft.splits.split import PARTS, TEST_PARTS, Split, read_split, write_split

__all__ = [
    "PARTS",
    "TEST_PARTS",
    "Check",
    "Split",
    "SplitRecipe",
    "check_split",
    "make_split",
    "read_split",
    "require_sound",
    "write_split",
]
