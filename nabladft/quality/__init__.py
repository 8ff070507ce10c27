"""What data look like, and which records do not look like the others.

Example:
    >>> from nabladft.quality import examine
    >>> report = examine("nano", eigenproblems=0)
    >>> report.n_conformations, report.distributions["n_atoms"].largest
    (315, 15.0)
"""

from nabladft.quality.checks import CHECKS, Check, Flag
from nabladft.quality.distributions import Distribution
from nabladft.quality.examining import Report, examine

__all__ = ["CHECKS", "Check", "Distribution", "Flag", "Report", "examine"]
