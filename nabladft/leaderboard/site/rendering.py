"""From what pages show to bytes: the templates, escaped everywhere, and the tables as files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nabladft import __version__
from nabladft.errors import missing_extra
from nabladft.leaderboard.site.exports import csv_text, json_text
from nabladft.leaderboard.site.texts import DOCS, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from nabladft.leaderboard.site.tables import Table

_TEMPLATES: Final = Path(__file__).with_name("templates")

#: Links in the head of every page.
NAVIGATION: Final = (
    ("Standings", "index.html"),
    ("Published results", "published.html"),
    ("Data sets", "datasets/index.html"),
    ("How to cite", "cite.html"),
)


@dataclass(kw_only=True)
class Pages:
    """The files of a site while it is built.

    Attributes:
        n_entries: Entries of the leaderboard.
        n_published: Published numbers.
        themes: Vega configurations of light and dark mode.
        viewer: Version of the 3-D viewer.
        has_viewer: Whether it is there.
        files: Content by path below the root of the site.
    """

    n_entries: int
    n_published: int
    themes: Sequence[dict[str, Any]]
    viewer: str
    has_viewer: bool
    files: dict[str, bytes] = field(default_factory=dict)

    def add_page(self, template: str, path: str, **content: Any) -> None:  # noqa: ANN401
        """Render an HTML page.

        Args:
            template: Name of the template.
            path: Path below the root of the site.
            content: What the template shows.
        """
        self.add_file(
            template,
            path,
            root="../" * path.count("/"),
            here=path,
            navigation=NAVIGATION,
            version=__version__,
            repository=REPOSITORY,
            docs=DOCS,
            n_entries=self.n_entries,
            n_published=self.n_published,
            themes=self.themes,
            viewer=self.has_viewer,
            viewer_version=self.viewer,
            **content,
        )

    def add_file(self, template: str, path: str, **content: Any) -> None:  # noqa: ANN401
        """Render a file.

        Raises:
            MissingExtraError: Jinja is not installed.
        """
        assert path not in self.files, path
        self.files[path] = self._environment.get_template(template).render(**content).encode()

    def add_table(self, table: Table) -> Table:
        """Write a table as CSV and JSON, and give it back for the page."""
        for ending, text in (("csv", csv_text(table)), ("json", json_text(table))):
            path = f"tables/{table.slug}.{ending}"
            assert path not in self.files, path
            self.files[path] = text.encode()
        return table

    @cached_property
    def _environment(self) -> Environment:
        try:
            import jinja2  # noqa: PLC0415 - only who builds the site needs it
        except ModuleNotFoundError as error:
            raise missing_extra("Building the site", "site", error) from error
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
        )
        environment.filters |= {"https": https_only, "exact": exact}
        return environment


def https_only(address: str) -> str:
    """Let through https addresses; anything else (javascript:, data:) leads nowhere.

    Example:
        >>> https_only("https://example.org/x"), https_only("javascript:alert(1)")
        ('https://example.org/x', '#')
    """
    return address if address.startswith("https://") else "#"


def exact(value: str | float) -> str:
    """Write a value to the last digit."""
    return value if isinstance(value, str) else repr(value)
