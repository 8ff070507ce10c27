"""Lists of SMILES: what is read, and what is refused with the number of its line."""

import pytest

from nabladft.errors import InputError
from nabladft.labels.molecules import canonical_smiles, parse_smiles, read_smiles


def test_ids_count_molecules_and_places_count_lines():
    molecules = parse_smiles(["# header", "OC ", "", "c1ccsc1\tthiophene", "CC(N)=O  an amide"])

    assert [(m.molecule_id, m.smiles, m.name, m.place) for m in molecules] == [
        (1, "CO", "", "line 2"),
        (2, "c1ccsc1", "thiophene", "line 4"),
        (3, "CC(N)=O", "an amide", "line 5"),
    ]


def test_csv_takes_the_columns_by_name(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('number,Name,SMILES\n7,"methanol, dry",OC\n8,,c1ccsc1\n')

    assert [(m.smiles, m.name, m.place) for m in read_smiles(path)] == [
        ("CO", "methanol, dry", "line 2"),
        ("c1ccsc1", "", "line 3"),
    ]


def test_csv_without_the_column_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("molecule\nCO\n")

    with pytest.raises(InputError, match=r"No column 'smiles' in the header: molecule"):
        read_smiles(path)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C1CC", "not a SMILES"),
        ("CO.O", "several fragments"),
        ("C[NH3+]", r"charge \+1"),
        ("C[CH2]", "unpaired electrons"),
        ("[N]=O", "unpaired electrons"),
        ("CI", "has I, which"),
    ],
)
def test_what_cannot_be_labelled_is_refused_with_its_line(smiles, reason):
    with pytest.raises(InputError, match=rf"1 lines cannot be used\. line 3: .*{reason}"):
        parse_smiles(["# list", "CO", smiles])


def test_a_molecule_written_twice_is_refused():
    with pytest.raises(InputError, match=r"line 2: 'OC' is the molecule of line 1 again"):
        parse_smiles(["CO", "OC"])


def test_many_bad_lines_are_counted_and_the_first_shown():
    with pytest.raises(InputError, match=r"7 lines .* line 5: .*\(and 2 more\)") as caught:
        parse_smiles(["C1"] * 7)

    assert "line 6" not in str(caught.value)


def test_a_list_without_molecules_is_refused():
    with pytest.raises(InputError, match="no molecule"):
        parse_smiles(["# nothing", ""])


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "list.smi"
    path.write_bytes(b"\x89HDF\r\n\xff\xfe")

    with pytest.raises(InputError, match="not a text file"):
        read_smiles(path)


def test_canonical_form_does_not_depend_on_the_writing():
    assert canonical_smiles("OCC") == canonical_smiles("C(C)O") == "CCO"
