"""Conditions to SQL over the tables of an index. Values are always parameters, never pasted.

Three tables carry a query: ``c`` (conformations), ``m`` (molecules), ``k`` (compositions). Only
those that a condition needs are joined. What SQL calls null (the scaffold of a molecule without
SMILES, say) fulfils neither a condition nor its opposite.

Example:
    >>> from nabladft.queries.language import parse
    >>> compiled = Compiler({}).compile(parse("n_Br >= 1 and molecule_id < 9"))
    >>> compiled.sql, compiled.bindings
    ('(m.composition IN (SELECT composition FROM composition_elements WHERE atomic_number = ? AND \
count >= ?) AND c.molecule_id < ?)', (35, 1.0, 9.0))
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nabladft.chemistry.elements import SYMBOLS, atomic_number, formula
from nabladft.chemistry.scaffolds import canonical_smiles, inchikey_of
from nabladft.errors import InputError, MissingExtraError
from nabladft.queries.language import (
    And,
    Comparison,
    Condition,
    Elements,
    Not,
    Or,
    Substructure,
    refuse,
)
from nabladft.queries.names import element_of
from nabladft.storage.index_schema import pack_inchikey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OF_COMPOSITION: Final = ("n_atoms", "n_heavy_atoms", "n_orbitals")

#: What each name is as a value, and the tables that it speaks of.
_EXPRESSIONS: Final = {
    "molecule_id": ("c.molecule_id", "c"),
    "conformation_id": ("c.conformation_id", "c"),
    "row": ("c.row", "c"),
    "n_conformations": (
        "(SELECT count(*) FROM conformations AS d WHERE d.molecule_id = c.molecule_id)",
        "c",
    ),
    "geometry_origin": ("(SELECT name FROM origins WHERE origins.origin = c.origin)", "c"),
    "smiles": ("m.smiles", "cm"),
    "inchikey": ("m.inchikey", "cm"),
    "scaffold": ("(SELECT s.smiles FROM scaffolds AS s WHERE s.scaffold = m.scaffold)", "cm"),
    "formula": ("k.formula", "ckm"),
    **{name: (f"k.{name}", "ckm") for name in _OF_COMPOSITION},
}
_COUNT: Final = (
    "coalesce((SELECT e.count FROM composition_elements AS e WHERE e.atomic_number = ?"
    " AND e.composition = m.composition), 0)"
)
_LOWEST: Final = (
    "(SELECT min(d.energy) FROM conformations AS d WHERE d.molecule_id = c.molecule_id)"
)

_FORMULA: Final = re.compile(r"([A-Z][a-z]?)(\d*)")
_OPERATORS: Final = {"=", "!=", "<", "<=", ">", ">=", "like"}

#: How a query starts, by the tables that it needs.
SOURCES: Final = {
    "c": "conformations AS c",
    "cm": "molecules AS m JOIN conformations AS c ON c.molecule_id = m.molecule_id",
    "ckm": (
        "molecules AS m JOIN compositions AS k ON k.composition = m.composition"
        " JOIN conformations AS c ON c.molecule_id = m.molecule_id"
    ),
}

#: The same, through all molecules in the order of their ids: better when many fulfil the query,
#: because what an index finds comes in another order, page by page from everywhere.
SCANS: Final = {
    "c": SOURCES["c"],
    "cm": (
        "molecules AS m NOT INDEXED CROSS JOIN conformations AS c ON c.molecule_id = m.molecule_id"
    ),
    "ckm": (
        "molecules AS m NOT INDEXED CROSS JOIN compositions AS k ON k.composition = m.composition"
        " CROSS JOIN conformations AS c ON c.molecule_id = m.molecule_id"
    ),
}


@dataclass(frozen=True)
class Compiled:
    """A condition in SQL.

    Attributes:
        sql: An expression.
        bindings: Values of its question marks.
        tables: Which of c, k, m it speaks of, sorted.
    """

    sql: str
    bindings: tuple[Any, ...] = ()
    tables: str = ""

    @property
    def source(self) -> str:
        """What stands after FROM so that conformations with this condition can be selected."""
        return source_of(self.tables)


EVERYTHING: Final = Compiled("1")


def source_of(tables: Iterable[str], *, scan: bool = False) -> str:
    """Join the tables that an expression speaks of to the conformations.

    Args:
        tables: Of c, k, m.
        scan: Go through all molecules instead of asking the trees.
    """
    needed = "".join(sorted({*tables, "c"}))
    return (SCANS if scan else SOURCES)["ckm" if "k" in needed else needed]


def joined(parts: Iterable[Compiled], word: str) -> Compiled:
    """Put conditions together with AND or OR."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return Compiled(
        "(" + f" {word} ".join(part.sql for part in parts) + ")",
        tuple(value for part in parts for value in part.bindings),
        "".join(sorted({table for part in parts for table in part.tables})),
    )


class Compiler:
    """Compiles conditions for one index."""

    def __init__(
        self,
        about: Mapping[str, str],
        *,
        text: str = "",
        sets: Mapping[tuple[str, str], str | int] | None = None,
        matches: Mapping[str, str] | None = None,
        looks_up_tags: bool = False,
    ) -> None:
        """Remember what the index is and what was prepared for the query.

        Args:
            about: What the index says of itself.
            text: The query, for messages.
            sets: For (name, value) with name "split" or "tag": temporary table with the keys, or
                number of the tag.
            matches: For each SMARTS: temporary table with the molecules that match.
            looks_up_tags: Whether to look each conformation up in a tag, which is better when
                other conditions leave few, instead of going through the tag.
        """
        self._about = about
        self._text = text
        self._sets = {} if sets is None else sets
        self._matches = {} if matches is None else matches
        self._looks_up_tags = looks_up_tags

    def compile(self, condition: Condition) -> Compiled:
        """Write a condition in SQL.

        Raises:
            QueryError: A value makes no sense, or the index does not hold what is asked for.
        """
        match condition:
            case And(parts):
                return joined(map(self.compile, parts), "AND")
            case Or(parts):
                return joined(map(self.compile, parts), "OR")
            case Not(part):
                inner = self.compile(part)
                return Compiled(f"NOT {inner.sql}", inner.bindings, inner.tables)
            case Elements():
                return _elements(condition)
            case Substructure(smarts):
                table = self._matches[smarts]
                return Compiled(f"c.molecule_id IN {table}", (), "c")
            case Comparison():
                try:
                    return self._comparison(condition)
                except InputError as error:
                    refuse(self._text, condition.position, str(error))

    def expression(self, name: str) -> Compiled:
        """Write a name as a value, to sort by or to show.

        Raises:
            InputError: The index does not hold it, or it is not one value.
        """
        if name in _EXPRESSIONS:
            sql, tables = _EXPRESSIONS[name]
            return Compiled(sql, (), tables)
        number = element_of(name)
        if number is not None:
            return Compiled(_COUNT, (number,), "cm")
        if name.endswith("energy"):
            return self._energy(name)
        message = f"{name!r} cannot be shown or sorted by: a record can be in several."
        raise InputError(message)

    def _comparison(self, asked: Comparison) -> Compiled:
        name, operator, value = asked.name, asked.operator, asked.value.content
        assert operator in _OPERATORS
        if isinstance(value, str):
            return self._text_comparison(name, operator, value)
        if name in _OF_COMPOSITION:
            return _composition_where(f"{name} {operator} ?", value)
        number = element_of(name)
        if number is not None:
            return _count_of(number, operator, value)
        left = self.expression(name)
        return Compiled(f"{left.sql} {operator} ?", (*left.bindings, value), left.tables)

    def _text_comparison(self, name: str, operator: str, text: str) -> Compiled:
        exact = operator != "like"
        match name:
            case "split" | "tag":
                found = self._in_set(self._sets[name, text])
                if operator == "!=":
                    found = Compiled(f"NOT {found.sql}", found.bindings, found.tables)
            case "smiles":
                found = (
                    self._same_molecule(text, operator)
                    if exact
                    else Compiled("m.smiles LIKE ?", (text,), "cm")
                )
            case "inchikey":
                found = _inchikey(text, operator)
            case "formula":
                found = _composition_where(f"formula {operator} ?", _hill(text) if exact else text)
            case "scaffold":
                inner = f"SELECT scaffold FROM scaffolds WHERE smiles {operator} ?"  # noqa: S608
                scaffold = _scaffold(text) if exact else text
                found = Compiled(f"m.scaffold IN ({inner})", (scaffold,), "cm")
            case _:
                inner = f"SELECT origin FROM origins WHERE name {operator} ?"  # noqa: S608
                found = Compiled(f"c.origin IN ({inner})", (text,), "c")
        return found

    def _in_set(self, place: str | int) -> Compiled:
        if isinstance(place, str):
            return Compiled(f"(c.molecule_id, c.conformation_id) IN {place}", (), "c")
        keys = "SELECT molecule_id, conformation_id FROM main.tagged AS t WHERE t.tag = ?"
        if self._looks_up_tags:
            same = "t.molecule_id = c.molecule_id AND t.conformation_id = c.conformation_id"
            return Compiled(f"EXISTS ({keys} AND {same})", (place,), "c")
        return Compiled(f"(c.molecule_id, c.conformation_id) IN ({keys})", (place,), "c")

    def _energy(self, name: str) -> Compiled:
        held = self._about.get("energy", "")
        if not held:
            message = f"These data hold no energies, so {name!r} is not known."
            raise InputError(message)
        if name == "relative_energy":
            lowest = (
                "(SELECT min(d.energy) FROM conformations AS d WHERE d.molecule_id = c.molecule_id)"
            )
            return Compiled(f"(c.energy - {lowest})", (), "c")
        if name == held:
            return Compiled("c.energy", (), "c")
        if not self._about.get("isolated_atoms"):
            message = (
                f"These data hold {held}; {name} does not follow, because the isolated atoms of "
                "their level of theory are not known."
            )
            raise InputError(message)
        sign = "-" if name == "formation_energy" else "+"
        return Compiled(f"(c.energy {sign} k.isolated_atoms_energy)", (), "ckm")

    def _same_molecule(self, smiles: str, operator: str) -> Compiled:
        """Compare molecules where RDKit is there and was there, else texts."""
        if self._about.get("rdkit"):
            try:
                return Compiled(
                    f"m.inchikey {operator} ?", (pack_inchikey(inchikey_of(smiles)),), "cm"
                )
            except MissingExtraError:
                pass
        return Compiled(f"m.smiles {operator} ?", (smiles,), "cm")


def _scaffold(smiles: str) -> str:
    """Write a scaffold as the index does, where RDKit is there to do it."""
    if not smiles:
        return smiles
    try:
        return canonical_smiles(smiles)
    except MissingExtraError:
        return smiles


def _composition_where(sql: str, *bindings: Any) -> Compiled:  # noqa: ANN401 - what SQLite holds
    whole = f"m.composition IN (SELECT composition FROM compositions WHERE {sql})"  # noqa: S608
    return Compiled(whole, bindings, "cm")


def _count_of(number: int, operator: str, count: float) -> Compiled:
    """Compare how many atoms of an element there are; none are not listed."""
    listed = "SELECT composition FROM composition_elements WHERE atomic_number = ? AND count"
    if not _holds(0.0, operator, count):
        return Compiled(f"m.composition IN ({listed} {operator} ?)", (number, count), "cm")
    negated = {"=": "!=", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}[operator]
    return Compiled(f"m.composition NOT IN ({listed} {negated} ?)", (number, count), "cm")


def _holds(left: float, operator: str, right: float) -> bool:
    compare = {
        "=": np.equal,
        "!=": np.not_equal,
        "<": np.less,
        "<=": np.less_equal,
        ">": np.greater,
        ">=": np.greater_equal,
    }[operator]
    return bool(compare(left, right))


def _elements(asked: Elements) -> Compiled:
    numbers = tuple(atomic_number(symbol) for symbol in asked.symbols)
    if asked.only:
        marks = ", ".join("?" * len(numbers))
        sql = (
            "m.composition NOT IN (SELECT composition FROM composition_elements"  # noqa: S608
            f" WHERE atomic_number NOT IN ({marks}))"
        )
        return Compiled(sql, numbers, "cm")
    return joined((_count_of(number, ">=", 1.0) for number in numbers), "AND")


def _inchikey(text: str, operator: str) -> Compiled:
    if operator != "like":
        return Compiled(f"m.inchikey {operator} ?", (pack_inchikey(text),), "cm")
    # Keys sort as their packed forms do, so a beginning is a range.
    beginning = text.removesuffix("%").replace("-", "")
    if not text.endswith("%") or not beginning.isalpha() or not beginning.isupper():
        message = (
            f"inchikey like {text!r}: only a beginning can be asked for, as 'XLYOFNOQVPJJNP%'."
        )
        raise InputError(message)
    low, high = (_dashed(beginning.ljust(25, letter)) for letter in "AZ")
    bounds = (pack_inchikey(low), pack_inchikey(high))
    return Compiled("m.inchikey BETWEEN ? AND ?", bounds, "cm")


def _dashed(letters: str) -> str:
    return f"{letters[:14]}-{letters[14:24]}-{letters[24:]}"


def _hill(text: str) -> str:
    """Write a formula in Hill order, whatever order it came in."""
    found = _FORMULA.findall(text)
    whole = "".join(symbol + count for symbol, count in found)
    if not found or whole != text or any(symbol not in SYMBOLS[1:] for symbol, _ in found):
        message = f"{text!r} is not a formula. Write it as 'C9H8O4'."
        raise InputError(message)
    numbers = [n for symbol, count in found for n in [atomic_number(symbol)] * int(count or 1)]
    return formula(np.array(numbers))
