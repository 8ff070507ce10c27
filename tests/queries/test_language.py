import re

import pytest

from nabladft.errors import QueryError
from nabladft.queries.language import And, Comparison, Elements, Not, Or, Substructure, parse


def names(condition):
    """The shape of a condition, without values and places."""
    match condition:
        case And(parts):
            return ("and", *map(names, parts))
        case Or(parts):
            return ("or", *map(names, parts))
        case Not(part):
            return ("not", names(part))
        case Comparison(name):
            return name
        case Elements():
            return "elements"
        case Substructure():
            return "smarts"


def test_and_binds_more_tightly_than_or_and_not_most():
    tree = parse("n_C = 1 or not n_N = 1 and n_O = 1")

    assert names(tree) == ("or", "n_C", ("and", ("not", "n_N"), "n_O"))
    assert names(parse("(n_C = 1 or n_N = 1) and n_O = 1")) == ("and", ("or", "n_C", "n_N"), "n_O")


def test_words_may_be_in_capitals_and_lines_broken():
    text = "n_atoms NOT IN (3, 4)\n  AND Elements Contain (Br, Cl) AND smarts = 'CO'"

    assert names(parse(text)) == (
        "and",
        ("not", ("or", "n_atoms", "n_atoms")),
        "elements",
        "smarts",
    )


@pytest.mark.parametrize(
    ("text", "hartree"),
    [
        ("energy < -2 Eh", -2.0),
        ("energy < -2", -2.0),
        ("energy < -2e3 mEh", -2.0),
        ("energy < -54.422772491975996 eV", -2.0),
        ("energy < -1255.0189 kcal/mol", -2.0),
        ("energy < -5250.9992 kJ/mol", -2.0),
    ],
)
def test_energies_are_converted_to_hartree(text, hartree):
    assert parse(text).value.content == pytest.approx(hartree, rel=1e-7)


def test_the_unit_of_a_range_counts_for_both_ends():
    low, high = parse("energy between -2000 and -1000 mEh").parts

    assert (low.value.content, high.value.content) == (-2.0, -1.0)


def test_both_kinds_of_quotes_hold_any_text():
    assert parse('smiles = "C\'C"').value.content == "C'C"
    assert parse("formula = 'and or not'").value.content == "and or not"


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("n_atom < 30", "No name 'n_atom'. Did you mean 'n_atoms'?", 0),
        ("n_atoms < 30 and zzz = 1", "No name 'zzz'. Known: molecule_id", 17),
        ("elements contain Xx", "No element 'Xx'", 17),
        ("elements contain br", "No element 'br'. Did you mean 'Br'?", 17),
        ("n_atoms <", "The query ends too early. Expected a number", 9),
        ("(n_atoms < 3", "The query ends too early. Expected ')'", 12),
        ("", "The query ends too early. Expected a name", 0),
        ("n_atoms 30", "'30' cannot stand here. Expected between", 8),
        ("n_atoms ~ 30", "'~' cannot stand here", 8),
        ("formula = 'C9", "The text that begins here has no closing '", 10),
        ("energy < 3 kcal", "No unit of energy 'kcal'. Did you mean 'kcal/mol'?", 9),
        ("n_atoms < 3 eV", "n_atoms has no unit", 10),
        ("n_atoms < 'many'", "n_atoms is compared with a number", 10),
        ("split < 'train'", "split cannot be compared with '<', only with =, != and in", 6),
        ("split like 'tr%'", "split cannot be compared with 'like'", 11),
        ("formula = 3", "formula is compared with a text in quotes", 10),
    ],
)
def test_a_message_says_what_is_wrong_and_points_at_it(text, message, place):
    with pytest.raises(QueryError, match=re.escape(message)) as caught:
        parse(text)

    *_, line, pointer = str(caught.value).split("\n")
    assert line == f"  {text}"
    assert pointer.index("^") == place + 2


def test_the_line_of_a_mistake_is_shown():
    with pytest.raises(QueryError, match=r"\n  zzz < 3\n  \^$"):
        parse("n_atoms < 30 and\nzzz < 3")
