"""From a Vega-Lite specification to an SVG file that follows light and dark mode.

vl-convert brings Vega and Vega-Lite along and draws without a browser or a network; the same
specifications are drawn by Vega in the page when a reader asks for the interactive version.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nabladft.errors import missing_extra

if TYPE_CHECKING:
    from nabladft.leaderboard.site.tables import Table

#: Roles of colours: in light and in dark mode. No two roles share a light colour.
INK: Final = {
    "text": ("#1d2126", "#e4e7ea"),
    "muted": ("#5b6570", "#a7b0b9"),
    "axis": ("#97a1ab", "#5d6670"),
    "grid": ("#e4e7eb", "#2c3238"),
}
#: Colours of series, distinguishable also without red or green and readable on light and dark.
SERIES: Final = (
    *("#3572b0", "#d0721f", "#3a9868", "#b5478e", "#8369c2"),
    *("#a8851a", "#2c9bb0", "#c64d4d", "#6f8f2e", "#7b828a"),
)
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"

#: Run in the page: draws a specification into an element, without evaluating code of it.
_BUNDLE_SNIPPET: Final = """
window.nabladftDraw = (element, spec, config) => vegaEmbed(element, spec, {
  mode: "vega-lite", renderer: "svg", actions: false, ast: true, config,
  defaultStyle: false, tooltip: {disableDefaultStyle: true},
});
"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a page.

    Attributes:
        slug: Name of its file.
        title: What it shows, above it.
        alt: The same for who cannot see it.
        spec: Vega-Lite specification, data included.
        note: Text below.
        table: Slug of the table on the page with its numbers, or None.
        points: Its numbers as a table that is only in files, or None.
    """

    slug: str
    title: str
    alt: str
    spec: dict[str, Any]
    note: str = ""
    table: str | None = None
    points: Table | None = None

    @property
    def path(self) -> str:
        """Path of the drawing below the root of the site."""
        return f"figures/{self.slug}.svg"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG file.

    Attributes:
        text: Its content.
        width: In pixels.
        height: In pixels.
    """

    text: str
    width: int
    height: int


def config(mode: int) -> dict[str, Any]:
    """Give the Vega configuration of light (0) or dark (1) mode."""
    ink = {role: colours[mode] for role, colours in INK.items()}
    titles = {"labelColor": ink["muted"], "titleColor": ink["text"]}
    sizes = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
    return {
        "background": "transparent",
        "font": FONT,
        "axis": {
            **titles,
            **sizes,
            "gridColor": ink["grid"],
            "domainColor": ink["axis"],
            "tickColor": ink["axis"],
            "labelOverlap": True,
            "titlePadding": 8,
        },
        "legend": {
            **titles,
            **sizes,
            "labelLimit": 150,
            "symbolStrokeWidth": 2,
            "orient": "bottom",
            "columns": 3,
            "columnPadding": 28,
            "rowPadding": 4,
            "title": None,
        },
        "range": {"category": list(SERIES)},
        "text": {"color": ink["text"], "fontSize": 11},
        "rule": {"color": ink["axis"]},
        "view": {"stroke": None},
        "point": {"filled": True, "size": 70, "opacity": 1},
        "line": {"strokeWidth": 1.75},
    }


def draw(figure: Figure) -> Drawing:
    """Draw a figure; the same specification gives the same bytes.

    Raises:
        MissingExtraError: vl-convert is not installed.
    """
    try:
        import vl_convert  # noqa: PLC0415 - only who builds the site needs it
    except ModuleNotFoundError as error:
        raise missing_extra("Building the site", "site", error) from error
    svg: str = vl_convert.vegalite_to_svg(json.dumps(figure.spec), config=config(0))
    svg = _with_dark_mode(_with_counted_ids(svg))
    width, height = (
        round(float(number)) for number in re.findall(r' (?:width|height)="([\d.]+)"', svg)[:2]
    )
    return Drawing(text=svg, width=width, height=height)


def vega_bundle() -> str:
    """Give Vega, Vega-Lite and their embedding as one script.

    Raises:
        MissingExtraError: vl-convert is not installed.
    """
    try:
        import vl_convert  # noqa: PLC0415 - only who builds the site needs it
    except ModuleNotFoundError as error:
        raise missing_extra("Building the site", "site", error) from error
    # In a function: its thousands of names would be those of the page otherwise.
    return f"(() => {{\n{vl_convert.javascript_bundle(_BUNDLE_SNIPPET)}\n}})();\n"


def _with_counted_ids(svg: str) -> str:
    """Number the ids inside a drawing from 0: Vega counts on from drawing to drawing."""
    names = dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg))
    for k, name in enumerate(names):
        svg = svg.replace(f'id="{name}"', f'id="n{k}"').replace(f"url(#{name})", f"url(#n{k})")
    return svg


def _with_dark_mode(svg: str) -> str:
    """Add the colours of dark mode to a drawing in those of light mode."""
    rules = "".join(
        f'[{attribute}="{light}"]{{{attribute}:{dark}}}'
        for light, dark in INK.values()
        for attribute in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    return re.sub(r"(<svg\b[^>]*>)", rf"\g<1>{style}", svg, count=1)
