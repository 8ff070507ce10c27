"""Every code block of the README and the docs runs.

Python blocks of one page run in sequence in one namespace, in an empty folder. Console blocks
(```console) hold commands after ``$ ``; those of the nabladft command are run as well, unless the
block is preceded by an HTML comment ``<!-- not run: reason -->``.
"""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"(?P<skip><!-- not run: [^>]+-->\s*)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


def blocks(page, language):
    return [
        match["code"]
        for match in _BLOCK.finditer(page.read_text())
        if match["language"] == language and not match["skip"]
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_run(page, tmp_path, monkeypatch):
    from nabladft.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace = {"__name__": "docs"}
    for match in _BLOCK.finditer(page.read_text()):
        if match["skip"]:
            continue
        if match["language"] == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(match["code"], str(page), "exec"), namespace)
        elif match["language"] == "console":
            for line in match["code"].splitlines():
                if line.startswith("$ nabladft "):
                    command = shlex.split(line.removeprefix("$ nabladft "), comments=True)
                    assert main(command) == 0, line


def test_blocks_are_marked_with_a_language_that_is_checked():
    allowed = {"python", "console", "toml", "text", "csv", "json", "bash", "bibtex"}
    for page in PAGES:
        for match in _BLOCK.finditer(page.read_text()):
            assert match["language"] in allowed, f"{page}: {match['language']}"


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
