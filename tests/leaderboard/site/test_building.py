"""The site as files: complete, valid, the same again, and only from entries."""

import csv
import json
import re
import shutil
from functools import cache
from html.parser import HTMLParser
from urllib.parse import urldefrag

import html5lib
import pytest

from nabladft.errors import InputError
from nabladft.leaderboard.site.building import MARK, build_site
from tests.leaderboard.site.boards import FORMULA, LONG_WORD, SCRIPT


class Links(HTMLParser):
    """Collect addresses and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in {"href", "src"}:
                self.addresses.append(value)
            if name == "id":
                self.anchors.add(value)


@cache
def parsed(page):
    return html5lib.parse(page.read_text(), namespaceHTMLElements=False)


def pages_of(site):
    return sorted(site.rglob("*.html"))


def tables_of(page):
    """Give the tables of a page: name of its files, headers, rows of (header, data-value)."""
    for section in parsed(page).iter("section"):
        if section.get("data-table") is not None:
            table = next(section.iter("table"))
            rows = [
                [cell.get("data-value") for cell in row if cell.get("data-value") is not None]
                for body in table.iter("tbody")
                for row in body
                if row.get("class") != "group"
            ]
            yield section.get("id").removeprefix("table-"), rows


def test_every_page_is_valid_html(site):
    parser = html5lib.HTMLParser(strict=True)

    for page in pages_of(site):
        parser.parse(page.read_text())


def test_every_link_leads_somewhere(site):
    found = {page: Links(page.read_text()) for page in pages_of(site)}
    broken = []
    for page, links in found.items():
        for address in links.addresses:
            if re.match(r"https://", address):
                continue
            path, anchor = urldefrag(address)
            target = (page.parent / path).resolve() if path else page
            exists = target.is_file() and target.is_relative_to(site)
            if not exists or (anchor and anchor not in found[target].anchors):
                broken.append((page.name, address))

    assert broken == []


def test_every_page_is_reached_from_the_first(site):
    todo, seen = [site / "index.html"], set()
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        addresses = [urldefrag(one)[0] for one in Links(page.read_text()).addresses]
        todo += [
            (page.parent / one).resolve()
            for one in addresses
            if one.endswith(".html") and not one.startswith("https:")
        ]

    assert seen == set(pages_of(site))


def test_nothing_comes_from_elsewhere(site):
    loads = re.compile(r"<(?:script|img|link)\b[^>]*\b(?:src|href)=\"(?:https?:)?//")

    assert [page.name for page in pages_of(site) if loads.search(page.read_text())] == []
    assert all("Content-Security-Policy" in page.read_text() for page in pages_of(site))


def test_no_page_has_a_script_or_a_style_inside(site):
    for page in pages_of(site):
        for element in parsed(page).iter():
            if not isinstance(element.tag, str):
                continue
            kind = element.get("type") == "application/json" or element.get("src") is not None
            assert element.tag != "script" or kind, page
            assert element.tag != "style", page
            assert not [name for name in element.attrib if name.startswith(("on", "style"))], page


def test_two_builds_give_the_same_bytes(board, tmp_path):
    part = tmp_path / "board"
    for path in board.glob("entries/energy/hasty*"):
        (part / path.relative_to(board)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, part / path.relative_to(board))
    one, two = (build_site(part, tmp_path / name).folder for name in ("one", "two"))
    files = {path.relative_to(one): path for path in one.rglob("*") if path.is_file()}

    assert {path.relative_to(two) for path in two.rglob("*") if path.is_file()} == set(files)
    for name, path in files.items():
        assert (two / name).read_bytes() == path.read_bytes(), name


def test_csv_and_json_say_what_the_tables_say(site):
    n_tables = 0
    for page in pages_of(site):
        for slug, rows in tables_of(page):
            document = json.loads((site / "tables" / f"{slug}.json").read_text())
            keys = [column["key"] for column in document["columns"]]
            of_json = [[_text(row[key]) for key in keys] for row in document["rows"]]
            with (site / "tables" / f"{slug}.csv").open(newline="") as file:
                lines = list(csv.DictReader(file))
            titles = [column["title"] for column in document["columns"]]
            of_csv = [[line[title].removeprefix("'") for title in titles] for line in lines]

            assert of_json == rows, slug
            assert of_csv == rows, slug
            n_tables += 1
    assert n_tables > 20


def test_the_numbers_are_those_of_the_entry(site, board):
    details = json.loads((board / "entries/energy/hasty-nano.details.json").read_text())
    table = json.loads((site / "tables/energy-nano-test_scaffolds-standings.json").read_text())
    row = next(one for one in table["rows"] if one["model"] == "Hasty")
    found = next(one for one in details["results"] if one["part"] == "test_scaffolds")
    in_hartree = found["metrics"]["energy_mae"]

    assert row["energy_mae_test_scaffolds"] == pytest.approx(1e3 * in_hartree["value"], rel=1e-12)
    assert row["energy_mae_test_scaffolds_low"] == pytest.approx(1e3 * in_hartree["ci_low"])


def test_published_rows_are_never_among_ours(site):
    for path in sorted((site / "tables").glob("*-standings.json")):
        rows = json.loads(path.read_text())["rows"]
        kinds = [row["published"] for row in rows]
        assert kinds == sorted(kinds), path
        assert all(row["rank"] is None for row in rows if row["published"])
        assert all(row["rank"] is not None for row in rows if not row["published"])


def test_a_formula_stays_a_text_in_spreadsheets(site):
    cells = [
        cell
        for path in sorted((site / "tables").glob("*.csv"))
        for line in csv.reader(path.open(newline=""))
        for cell in line
    ]

    assert [cell for cell in cells if cell.startswith(("=", "@", "+"))] == []
    assert FORMULA.startswith("=")


def test_hostile_texts_are_only_texts(site):
    page = (site / "models/energy-hostile.html").read_text()

    assert SCRIPT not in page
    assert LONG_WORD in page
    assert "&lt;script&gt;window.ran = 1&lt;/script&gt;" in page
    assert 'href="javascript:' not in page
    assert "{{ 7 * 7 }}" in page


def test_the_first_view_is_light(site):
    links = Links((site / "index.html").read_text())
    loaded = {urldefrag(one)[0] for one in links.addresses if one.startswith("static/")}
    n_bytes = sum((site / one).stat().st_size for one in {"index.html", *loaded})

    assert {"static/site.css", "static/site.js"} <= loaded
    assert n_bytes < 300_000


def test_a_folder_that_is_no_site_is_not_replaced(board, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(InputError, match=r"there is no \.nabladft-site in it"):
        build_site(board, tmp_path)

    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_site_is_replaced_whole(tmp_path):
    empty = tmp_path / "board"
    empty.mkdir()
    out = tmp_path / "site"
    build_site(empty, out)
    (out / "left-over.html").write_text("old")

    build_site(empty, out)

    assert not (out / "left-over.html").exists()
    assert (out / MARK).is_file()
    assert "No model has been scored yet" in (out / "index.html").read_text()


def test_a_viewer_that_is_not_there_is_asked_for(board, tmp_path):
    with pytest.raises(InputError, match=r"npm install --no-package-lock --omit=dev 3dmol@2"):
        build_site(board, tmp_path / "site", packages=tmp_path)


def _text(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value)
