"""Which conformations: a small language, substructures, and what comes out of it.

Example:
    >>> from nabladft.queries import query
    >>> query("nano", "elements contain Br and energy < -2700 Eh", limit=2).keys.tolist()
    [[8, 0], [8, 1]]
"""

from nabladft.queries.language import parse
from nabladft.queries.places import index_of
from nabladft.queries.selecting import DEFAULT_COLUMNS, Selection, count, query

__all__ = ["DEFAULT_COLUMNS", "Selection", "count", "index_of", "parse", "query"]
