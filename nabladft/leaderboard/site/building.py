"""Build the site: read a leaderboard, lay out its pages, write them in one step.

Everything is put together in memory first and written into a new folder that then takes the place
of the old one, so that a site is never half old and half new. Nothing depends on the time or the
machine: the same entries give the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nabladft import __version__
from nabladft.benchmark.tasks import tasks
from nabladft.catalog.catalogue import PACKAGED, read_catalogue
from nabladft.errors import InputError
from nabladft.leaderboard.board import board_folder, details_path_of, read_board
from nabladft.leaderboard.published import read_published_metrics, read_sources
from nabladft.leaderboard.site.breakdowns import elements_table, metrics_table, sizes_table
from nabladft.leaderboard.site.charts import contest_figures
from nabladft.leaderboard.site.contests import contest_title, contests_of
from nabladft.leaderboard.site.dataset_pages import (
    dataset_pages,
    dataset_path,
    datasets_table,
    documentation_of,
)
from nabladft.leaderboard.site.drawing import config, draw, vega_bundle
from nabladft.leaderboard.site.model_pages import model_page
from nabladft.leaderboard.site.published_tables import (
    Published,
    claims_table,
    published_table,
    subset_sizes,
)
from nabladft.leaderboard.site.rendering import Pages
from nabladft.leaderboard.site.standings import short_table, standings_table
from nabladft.leaderboard.site.texts import part_summary, part_title, task_summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nabladft.leaderboard.board import Board
    from nabladft.leaderboard.published import PublishedSource
    from nabladft.leaderboard.site.contests import Contest, Contestant
    from nabladft.leaderboard.site.drawing import Figure

_HERE: Final = Path(__file__).parent
#: Where ``npm install`` puts the 3-D viewer.
VIEWER: Final = Path("node_modules/3dmol/build/3Dmol-min.js")
#: Says that a folder is a site that may be replaced.
MARK: Final = ".nabladft-site"


@dataclass(frozen=True, kw_only=True)
class BuiltSite:
    """What was built.

    Attributes:
        folder: The site.
        n_pages: HTML files.
        n_bytes: Of all files.
        has_viewer: Whether molecules can be turned in 3-D.
    """

    folder: Path
    n_pages: int
    n_bytes: int
    has_viewer: bool


def build_site(
    folder: str | Path | None, out: str | Path, *, packages: str | Path | None = None
) -> BuiltSite:
    """Build the site of a leaderboard.

    Args:
        folder: The leaderboard; None takes the one that comes with the package.
        out: Folder of the site. A site that is there is replaced.
        packages: Folder in which ``npm install`` was run for the 3-D viewer; None looks beside
            this module and in the working directory.

    Raises:
        EntryError: An entry is not what it has to be.
        InputError: ``out`` is something other than a site, or ``packages`` has no viewer.
        MissingExtraError: What builds pages is not installed.
    """
    folder, out = Path(folder or board_folder()), Path(out)
    _refuse_other(out)
    viewer = _find_viewer(packages)
    board = read_board(folder)
    published = _published_of(folder, board)
    pages = Pages(
        n_entries=len(board.entries),
        n_published=len(board.published),
        themes=[config(0), config(1)],
        viewer=_viewer_version(),
        has_viewer=viewer is not None,
    )
    contests = contests_of(board)
    links = {contest.slug: _part_links(contest) for contest in contests}
    _add_index(pages, contests, published, links)
    for contest in contests:
        for part in contest.parts:
            _add_board(pages, contest, part, published, links[contest.slug])
        for one in contest.contestants:
            _add_model(pages, contest, one)
    _add_published(pages, published)
    _add_datasets(pages, contests, links)
    pages.add_page(
        "cite.html",
        "cite.html",
        bibliography=[_bibtex(key, one) for key, one in _publications(published).items()],
        contestants=[one for contest in contests for one in contest.contestants],
    )
    for path in sorted((_HERE / "static").iterdir()):
        pages.files[f"static/{path.name}"] = path.read_bytes()
    if any(path.startswith("figures/") for path in pages.files):
        pages.files["static/vega.js"] = vega_bundle().encode()
    if viewer:
        pages.files["static/3Dmol.js"] = viewer.read_bytes()
        licence = viewer.parent.parent / "LICENSE"
        if licence.is_file():
            pages.files["static/3Dmol.LICENSE.txt"] = licence.read_bytes()
    pages.files[MARK] = f"nabladft {__version__}\n".encode()
    _replace(out, pages.files)
    return BuiltSite(
        folder=out,
        n_pages=sum(path.endswith(".html") for path in pages.files),
        n_bytes=sum(map(len, pages.files.values())),
        has_viewer=viewer is not None,
    )


def _refuse_other(out: Path) -> None:
    """Refuse to replace what is no site."""
    if out.exists() and not out.is_dir():
        message = f"{out} is a file; give --out a folder."
        raise InputError(message)
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        message = (
            f"{out} holds files that are not a site of this program (there is no {MARK} in it), so "
            "it is not replaced. Give --out a new folder."
        )
        raise InputError(message)


def _find_viewer(packages: str | Path | None) -> Path | None:
    if packages is not None:
        path = Path(packages) / VIEWER
        if not path.is_file():
            message = (
                f"There is no {VIEWER} in {packages}. Run there: npm install --no-package-lock "
                f"--omit=dev 3dmol@{_viewer_version()}"
            )
            raise InputError(message)
        return path
    return next((base / VIEWER for base in (_HERE, Path()) if (base / VIEWER).is_file()), None)


def _viewer_version() -> str:
    return str(json.loads((_HERE / "package.json").read_text())["dependencies"]["3dmol"])


def _published_of(folder: Path, board: Board) -> Published:
    there = folder / "published"
    return Published(
        rows=board.published,
        sources=read_sources(there) if board.published else {},
        metrics=read_published_metrics(there) if board.published else {},
        sizes=subset_sizes(read_catalogue([PACKAGED])),
    )


def _part_links(contest: Contest) -> list[dict[str, Any]]:
    return [{"title": part_title(part), "href": contest.page(part)} for part in contest.parts]


def _add_index(
    pages: Pages,
    contests: Sequence[Contest],
    published: Published,
    links: Mapping[str, list[dict[str, Any]]],
) -> None:
    boards = []
    for contest in contests:
        table = pages.add_table(short_table(contest, published))
        boards.append(
            {
                "title": contest.task.title,
                "data_title": contest.data_title,
                "table": table,
                "summary": task_summary(contest.task.name),
                "links": [
                    {"title": f"All about {link['title']}", "href": link["href"]}
                    for link in links[contest.slug]
                ],
            }
        )
    scored = {contest.task.name for contest in contests}
    for task in (one for one in tasks().values() if one.name not in scored):
        claims = claims_table(published, task)
        if claims is not None:
            page = {
                "title": f"All published results of {task.title.lower()}",
                "href": f"published.html#table-published-{task.name}",
            }
            boards.append(
                {
                    "title": task.title,
                    "data_title": "nobody has been scored yet",
                    "table": pages.add_table(claims),
                    "summary": task_summary(task.name),
                    "links": [page],
                }
            )
    parts = dict.fromkeys(part for contest in contests for part in contest.parts)
    parts |= dict.fromkeys(part for task in tasks().values() for part in task.parts)
    shown = [
        {"title": part_title(part), "summary": f"{summary[0].lower()}{summary[1:].rstrip('.')}"}
        for part in parts
        if (summary := part_summary(part))
    ]
    pages.add_page("index.html", "index.html", boards=boards, parts_shown=shown)


def _add_board(
    pages: Pages,
    contest: Contest,
    part: str,
    published: Published,
    links: Sequence[Mapping[str, Any]],
) -> None:
    here = contest.page(part)
    first = contest.in_part(part)[0].row.results[part]
    figures = contest_figures(contest, part, published)
    found = (
        metrics_table(contest, part),
        sizes_table(contest, part),
        elements_table(contest, part),
    )
    pages.add_page(
        "board.html",
        here,
        contest=contest,
        title=contest_title(contest, part),
        part_title=part_title(part),
        part_summary=part_summary(part),
        summary=task_summary(contest.task.name),
        dataset_path=_dataset_link(contest),
        n_conformations=f"{first.n_conformations:,}",
        n_molecules=f"{first.n_molecules:,}",
        dummy=contest.dummy,
        links=[{**link, "is_here": link["href"] == here} for link in links],
        standings=pages.add_table(standings_table(contest, part, published)),
        tables=[pages.add_table(table) for table in found if table is not None],
        figures=figures,
        drawings=_draw_all(pages, figures),
    )


def _dataset_link(contest: Contest) -> str:
    """Give the page of the data set of a contest, or that of all where it has none."""
    known = read_catalogue([PACKAGED]).find(contest.data.dataset)
    return dataset_path(known.name) if known else "datasets/index.html"


def _add_model(pages: Pages, contest: Contest, one: Contestant) -> None:
    page = model_page(contest, one)
    for table in (page.metrics, page.scored, *page.tables):
        pages.add_table(table)
    figures = [*page.figures, *(f for section in page.sections for f in section.parity)]
    for figure in figures:
        if figure.points is not None:
            pages.add_table(figure.points)
    for section in page.sections:
        for card in section.worst:
            pages.files[f"molecules/{card.slug}.xyz"] = card.xyz.encode()
            if card.drawing is not None:
                pages.add_file("molecule.svg", f"molecules/{card.slug}.svg", drawn=card.drawing)
    path = one.scored.path
    pages.files[f"entries/{one.slug}.toml"] = path.read_bytes()
    pages.files[f"entries/{one.slug}.details.json"] = details_path_of(path).read_bytes()
    pages.add_page("model.html", one.page, page=page, drawings=_draw_all(pages, figures))


def _add_published(pages: Pages, published: Published) -> None:
    names = dict.fromkeys(row.task for row in published.rows)
    pages.add_page(
        "published.html",
        "published.html",
        tables=[pages.add_table(published_table(published, name)) for name in names],
        sources=published.sources,
        metrics=published.metrics,
    )


def _add_datasets(
    pages: Pages, contests: Sequence[Contest], links: Mapping[str, list[dict[str, Any]]]
) -> None:
    found = dataset_pages(read_catalogue([PACKAGED]), contests)
    for page in found:
        pages.add_table(page.fields)
        documentation = documentation_of(page.product)
        pages.add_page(
            "dataset.html", page.path, page=page, links=links, documentation=documentation
        )
    pages.add_page(
        "datasets.html", "datasets/index.html", table=pages.add_table(datasets_table(found))
    )


def _draw_all(pages: Pages, figures: Iterable[Figure]) -> dict[str, Any]:
    drawings = {}
    for figure in figures:
        drawings[figure.slug] = draw(figure)
        pages.files[figure.path] = drawings[figure.slug].text.encode()
    return drawings


def _publications(published: Published) -> dict[str, PublishedSource]:
    """List what data and published rows are from, each publication once."""
    found: dict[str, tuple[str, PublishedSource]] = {}
    for key, source in published.sources.items():
        found.setdefault(source.doi, (key, source))
    return dict(found.values())


def _bibtex(key: str, source: PublishedSource) -> str:
    return (
        f"@article{{{key},\n  title = {{{source.title}}},\n  author = "
        f"{{{' and '.join(source.authors)}}},\n  year = {{{source.year}}},\n  doi = "
        f"{{{source.doi}}}\n}}"
    )


def _replace(out: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder and put it in the place of the old one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        new.chmod(0o755)
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
