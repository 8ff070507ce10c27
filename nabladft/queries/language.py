"""The query language: text in, a tree of conditions out. Nothing here knows SQL.

The grammar is in :data:`GRAMMAR`; ``docs/query.md`` explains it by examples.

Example:
    >>> parse("n_atoms < 30 and elements contain Br")
    And(parts=(Comparison(name='n_atoms', operator='<', value=Value(content=30.0), position=0), \
Elements(symbols=('Br',), only=False, position=17)))
    >>> parse("n_atom < 30")
    Traceback (most recent call last):
    nabladft.errors.QueryError: No name 'n_atom'. Did you mean 'n_atoms'?
      n_atom < 30
      ^
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken, VisitError

from nabladft.chemistry.elements import SYMBOLS
from nabladft.chemistry.units import convert
from nabladft.errors import QueryError, UnitError, suggestion
from nabladft.queries.names import NAMES, element_of, known_names

if TYPE_CHECKING:
    from collections.abc import Sequence

GRAMMAR: Final = r"""
start: _or
_or: any
any: all (OR all)*
all: _not (AND _not)*
_not: negation | _condition
negation: NOT _not
_condition: "(" any ")" | comparison | membership | range | pattern | elements | substructure

comparison: NAME OPERATOR value
membership: NAME [NOT] IN "(" value ("," value)* ")"
range: NAME [NOT] BETWEEN value AND value
pattern: NAME [NOT] LIKE STRING
elements: ELEMENTS (CONTAIN | ONLY) symbols
symbols: "(" NAME ("," NAME)* ")" | NAME ("," NAME)*
substructure: SMARTS ["="] STRING

value: NUMBER UNIT? | STRING

OR.2: /or\b/i
AND.2: /and\b/i
NOT.2: /not\b/i
IN.2: /in\b/i
BETWEEN.2: /between\b/i
LIKE.2: /like\b/i
ELEMENTS.2: /elements\b/i
CONTAIN.2: /contains?\b/i
ONLY.2: /only\b/i
SMARTS.2: /(smarts|substructure)\b/i
OPERATOR: "<=" | ">=" | "!=" | "<>" | "==" | "=" | "<" | ">"
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
UNIT: /[A-Za-zµ]+(\/[A-Za-z]+)*/
NAME: /[A-Za-z_][A-Za-z_0-9]*/
STRING: /'[^']*'|"[^"]*"/
%ignore /\s+/
"""

_ENERGY_UNITS: Final = ("hartree", "Eh", "mEh", "eV", "meV", "kcal/mol", "kJ/mol")
_UNIT_ALIASES: Final = {"Eh": "hartree", "Ha": "hartree", "mEh": "millihartree"}

#: What each terminal is called in messages.
_SPOKEN: Final = {
    "NAME": "a name",
    "OPERATOR": "a comparison (= != < <= > >=)",
    "NUMBER": "a number",
    "STRING": "a text in quotes",
    "UNIT": "a unit",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "EQUAL": "'='",
    "SMARTS": "smarts",
    "$END": "the end",
}


class Value(NamedTuple):
    """A number (of an energy: in hartree), or a text."""

    content: float | str


class _Written(NamedTuple):
    """A value as it stands in the query, with its place."""

    content: float | str
    unit: str | None
    position: int


@dataclass(frozen=True)
class Comparison:
    """``name operator value``; operators are = != < <= > >= and like."""

    name: str
    operator: str
    value: Value
    position: int


@dataclass(frozen=True)
class Elements:
    """``elements contain A, B`` (all of them) or ``elements only A, B`` (no others)."""

    symbols: tuple[str, ...]
    only: bool
    position: int


@dataclass(frozen=True)
class Substructure:
    """``smarts '...'``: the molecule matches the pattern."""

    smarts: str
    position: int


@dataclass(frozen=True)
class Not:
    """The condition does not hold."""

    part: Condition


@dataclass(frozen=True)
class And:
    """All conditions hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Or:
    """At least one condition holds."""

    parts: tuple[Condition, ...]


Condition = Comparison | Elements | Substructure | Not | And | Or


def parse(text: str) -> Condition:
    """Read a query.

    Raises:
        QueryError: The text is no query; the message points at the place.
    """
    try:
        tree = _parser().parse(text)
    except UnexpectedEOF as error:
        refuse(text, len(text), f"The query ends too early. {_wanted(error.expected)}")
    except UnexpectedCharacters as error:
        refuse(text, error.pos_in_stream or 0, _unexpected_character(text, error))
    except UnexpectedToken as error:
        _refuse_token(text, error)
    try:
        found: Condition = _Builder(text).transform(tree)
    except VisitError as error:
        raise error.orig_exc from None
    return found


def refuse(text: str, position: int, reason: str) -> NoReturn:
    """Say what is wrong with a query, and show where.

    Raises:
        QueryError: Always.
    """
    before = text[:position]
    line = text.splitlines()[before.count("\n")] if text.strip() else text
    column = position - (before.rfind("\n") + 1)
    message = f"{reason}\n  {line}\n  {' ' * column}^"
    raise QueryError(message)


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=True)


class _Builder(Transformer[Token, Any]):
    """Turns lark's tree into conditions, and checks names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def start(self, parts: list[Condition]) -> Condition:
        return parts[0]

    def any(self, parts: list[Any]) -> Condition:
        found = tuple(part for part in parts if not isinstance(part, Token))
        return found[0] if len(found) == 1 else Or(found)

    def all(self, parts: list[Any]) -> Condition:
        found = tuple(part for part in parts if not isinstance(part, Token))
        return found[0] if len(found) == 1 else And(found)

    def negation(self, parts: list[Any]) -> Condition:
        return Not(parts[1])

    def comparison(self, parts: list[Any]) -> Condition:
        name, operator, value = parts
        plain = {"==": "=", "<>": "!="}.get(str(operator), str(operator))
        return self._compare(name, plain, value, operator)

    def membership(self, parts: list[Any]) -> Condition:
        name, negated, _, *values = parts
        equal = tuple(self._compare(name, "=", value) for value in values)
        found = equal[0] if len(equal) == 1 else Or(equal)
        return found if negated is None else Not(found)

    def range(self, parts: list[Any]) -> Condition:
        name, negated, _, low, _, high = parts
        if low.unit is None:  # between -400 and -300 eV
            low = low._replace(unit=high.unit)
        bounds = (self._compare(name, ">=", low), self._compare(name, "<=", high))
        return And(bounds) if negated is None else Not(And(bounds))

    def pattern(self, parts: list[Any]) -> Condition:
        name, negated, _, text = parts
        written = _Written(str(text[1:-1]), None, int(text.start_pos or 0))
        found = self._compare(name, "like", written, text)
        return found if negated is None else Not(found)

    def elements(self, parts: list[Any]) -> Condition:
        start, kind, symbols = parts
        only = kind.type == "ONLY"
        return Elements(tuple(self._symbol(s) for s in symbols), only, start.start_pos)

    def symbols(self, parts: list[Token]) -> list[Token]:
        return parts

    def substructure(self, parts: list[Token]) -> Condition:
        return Substructure(str(parts[-1][1:-1]), int(parts[-1].start_pos or 0))

    def value(self, parts: list[Any]) -> _Written:
        first, *units = parts
        place = int(first.start_pos or 0)
        if first.type == "STRING":
            return _Written(str(first[1:-1]), None, place)
        return _Written(float(first), next((str(unit) for unit in units if unit), None), place)

    def _compare(
        self, token: Token, operator: str, value: _Written, sign: Token | None = None
    ) -> Comparison:
        """Check that this name can be compared so, with this."""
        name = self._name(token)
        kind = NAMES[name].kind if name in NAMES else "integer"
        is_text = isinstance(value.content, str)
        if is_text != (kind in {"text", "set"}):
            wanted = "a number" if is_text else "a text in quotes"
            refuse(self._text, value.position, f"{name} is compared with {wanted}.")
        allowed = {"text": ("=", "!=", "like"), "set": ("=", "!=")}.get(kind)
        if allowed is not None and operator not in allowed:
            place = value.position if sign is None else int(sign.start_pos or 0)
            reason = f"{name} cannot be compared with {operator!r}, only with "
            refuse(self._text, place, reason + f"{', '.join(allowed)} and in.")
        content = value.content
        if value.unit is not None:
            if kind != "energy":
                refuse(self._text, value.position, f"{name} has no unit.")
            content = self._in_hartree(float(content), value)
        return Comparison(name, operator, Value(content), int(token.start_pos or 0))

    def _in_hartree(self, number: float, value: _Written) -> float:
        unit = _UNIT_ALIASES.get(value.unit or "", value.unit or "")
        try:
            return convert(number, source=unit, target="hartree")
        except UnitError:
            close = suggestion(unit.lower(), _ENERGY_UNITS)
            reason = f"No unit of energy {value.unit!r}.{close} Known: {', '.join(_ENERGY_UNITS)}."
        refuse(self._text, value.position, reason)

    def _name(self, token: Token) -> str:
        name = str(token)
        if name in NAMES or element_of(name) is not None:
            return name
        reason = f"No name {name!r}.{suggestion(name, known_names())}"
        if not suggestion(name, known_names()):
            reason += f" Known: {', '.join(known_names()[:-2])}, n_<element>."
        refuse(self._text, int(token.start_pos or 0), reason)

    def _symbol(self, token: Token) -> str:
        symbol = str(token)
        if symbol in SYMBOLS[1:]:
            return symbol
        close = suggestion(symbol.capitalize(), SYMBOLS[1:])
        refuse(self._text, int(token.start_pos or 0), f"No element {symbol!r}.{close}")


def _refuse_token(text: str, error: UnexpectedToken) -> NoReturn:
    token = error.token
    if token.type == "$END":
        refuse(text, len(text.rstrip()), f"The query ends too early. {_wanted(error.expected)}")
    reason = f"{str(token)!r} cannot stand here. {_wanted(error.expected)}"
    if token.type == "NAME" and "STRING" in error.expected:
        reason = f"Put the text in quotes: '{token}'."
    refuse(text, int(token.start_pos or 0), reason)


def _unexpected_character(text: str, error: UnexpectedCharacters) -> str:
    place = error.pos_in_stream or 0
    if text[place] in "'\"":
        return f"The text that begins here has no closing {text[place]}."
    rest = text[place:].split()
    return f"{rest[0]!r} cannot stand here. {_wanted(error.allowed or ())}"


def _wanted(expected: Sequence[str] | set[str]) -> str:
    spoken = [_SPOKEN.get(terminal, terminal.lower()) for terminal in sorted(set(expected))]
    if "a name" in spoken:
        # A condition may begin here: its other beginnings are in the reference.
        spoken = ["a name", *(word for word in spoken if word in {"'('", "not", "')'"})]
    return f"Expected {' or '.join(spoken)}." if spoken else ""
