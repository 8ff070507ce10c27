"""Where the rows of an SQLite table lie in its file, found without reading the rows.

SQLite reads a row page by page, each page telling where the next one is. For a file elsewhere that
would be one request after the other, hundreds for one matrix. Here the b-tree is followed down to
the rows wanted, all of them at once, one level after the other; the record's own header then says
how many pages its values need. The answer is a guess of what SQLite is going to read: the pages of
a long row are taken to follow each other, as they do in a file that was written row after row. A
wrong guess costs time and never correctness, because SQLite itself then reads the row.

Source:
    https://www.sqlite.org/fileformat2.html, sections 1.3 (header), 1.6 (b-tree pages, overflow
    pages) and 2.1 (record format).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nabladft.transport.cached_file import CachedFile

    Range = tuple[int, int]

_INTERIOR: Final = 5
_LEAF: Final = 13

#: A deeper tree than this is a damaged one.
_DEEPEST: Final = 20

#: Bytes of a value by its serial type, 0 to 11; larger types give their length themselves.
_SIZES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)

#: Interior pages kept after they were taken apart.
_KEPT: Final = 4096


class TablePages:
    """The pages of one table with integer keys."""

    def __init__(self, file: CachedFile, root: int) -> None:
        """Remember.

        Args:
            file: The SQLite file.
            root: Page of the root of the table's b-tree, as ``sqlite_master`` gives it.
        """
        self._file = file
        self._root = root
        header = file.read(0, 100)
        size = int.from_bytes(header[16:18], "big")
        self.page_size = 65536 if size == 1 else size
        self._usable = self.page_size - header[20]
        self._interior: dict[int, tuple[list[int], list[int]]] = {}

    def of_rows(self, ids: Iterable[int], n_columns: int) -> dict[int, list[Range]]:
        """Find the bytes that reading some rows needs beyond their leaf pages, which are fetched.

        Args:
            ids: Keys of the rows; one that is not there is left out of the answer.
            n_columns: How many of the first columns will be read.

        Returns:
            Ranges (start, stop) of bytes by id; an empty list for a row that fits into its leaf.
        """
        leaves = self._descend(sorted(set(ids)))
        self._file.prefetch([self._place(page) for page in leaves])
        found: dict[int, list[Range]] = {}
        for page, wanted in leaves.items():
            found |= self._rows_of_leaf(page, set(wanted), n_columns)
        return found

    def leaves(self) -> list[Range]:
        """List the bytes of all leaf pages; only the pages above them are fetched."""
        level = [self._root]
        for _ in range(_DEEPEST):
            self._file.prefetch([self._place(page) for page in level[:1]])
            if self._page(level[0])[self._header(level[0])] != _INTERIOR:
                return [self._place(page) for page in level]
            self._file.prefetch([self._place(page) for page in level])
            level = [child for page in level for child in self._children(page)[1]]
        return []

    def _descend(self, ids: Sequence[int]) -> dict[int, list[int]]:
        """Find the leaf page of each id, level by level, fetching each level at once."""
        level = {self._root: list(ids)} if ids else {}
        for _ in range(_DEEPEST):
            self._file.prefetch([self._place(p) for p in level if p not in self._interior])
            below: dict[int, list[int]] = {}
            for page, wanted in level.items():
                keys, children = self._children(page)
                if not children:
                    return level
                for number in wanted:
                    below.setdefault(children[bisect_left(keys, number)], []).append(number)
            level = below
        return {}

    def _children(self, page: int) -> tuple[list[int], list[int]]:
        """Give keys and pages below an interior page; nothing for another page."""
        if page in self._interior:
            return self._interior[page]
        content = self._page(page)
        header = self._header(page)
        if content[header] != _INTERIOR:
            return [], []
        keys, children = [], []
        for cell in _cells(content, header, 12):
            children.append(int.from_bytes(content[cell : cell + 4], "big"))
            keys.append(_varint(content, cell + 4)[0])
        children.append(int.from_bytes(content[header + 8 : header + 12], "big"))
        while len(self._interior) >= _KEPT:
            self._interior.pop(next(iter(self._interior)))
        self._interior[page] = keys, children
        return keys, children

    def _rows_of_leaf(self, page: int, wanted: set[int], n_columns: int) -> dict[int, list[Range]]:
        content = self._page(page)
        header = self._header(page)
        if content[header] != _LEAF:
            return {}
        found: dict[int, list[Range]] = {}
        for cell in _cells(content, header, 8):
            size, position = _varint(content, cell)
            number, position = _varint(content, position)
            if number in wanted:
                local = self._local(size)
                needed = min(size, _end_of_column(content[position : position + local], n_columns))
                found[number] = []
                if needed > local:
                    first = int.from_bytes(content[position + local : position + local + 4], "big")
                    n_pages = -(-(needed - local) // (self._usable - 4))
                    found[number] = [(self._place(first)[0], self._place(first + n_pages)[0])]
        return found

    def _local(self, size: int) -> int:
        """Count the bytes of a record that lie in the leaf page itself."""
        if size <= self._usable - 35:
            return size
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (self._usable - 4)
        return local if local <= self._usable - 35 else least

    def _page(self, page: int) -> bytes:
        return self._file.read(*self._place(page))

    def _place(self, page: int) -> Range:
        return (page - 1) * self.page_size, page * self.page_size

    @staticmethod
    def _header(page: int) -> int:
        return 100 if page == 1 else 0


def _cells(content: bytes, header: int, width: int) -> list[int]:
    """List where the cells of a b-tree page begin, in the order of their keys."""
    count = int.from_bytes(content[header + 3 : header + 5], "big")
    start = header + width
    return [int.from_bytes(content[k : k + 2], "big") for k in range(start, start + 2 * count, 2)]


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Read a variable-length integer (signed 64 bits) and say where it ends."""
    value = 0
    for _ in range(8):
        byte = content[position]
        position += 1
        value = value << 7 | byte & 127
        if byte < 128:
            return value, position
    value = value << 8 | content[position]
    return value - (value >> 63 << 64), position + 1


def _end_of_column(record: bytes, n_columns: int) -> int:
    """Count the bytes of a record up to the end of one of its columns, from its header."""
    end, position = _varint(record, 0)
    header = end
    for _ in range(n_columns):
        if position >= min(header, len(record) - 9):
            break  # fewer columns than the table, or a header that is not all here
        kind, position = _varint(record, position)
        end += _SIZES[kind] if kind < len(_SIZES) else (kind - 12) // 2
    return end
