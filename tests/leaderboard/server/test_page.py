"""The page `docs/server.md` is tried as it stands: its bash blocks up to the first score."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "server.md"


@pytest.mark.slow
def test_the_page_leads_from_nothing_to_a_score(tmp_path):
    section = PAGE.read_text().split("## From nothing to a score")[1].split("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    script = "\n".join(
        [
            "set -euo pipefail",
            "trap 'kill %1' EXIT",
            *blocks,
        ]
    )
    assert "serve --config" in script
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "-m", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Nothing was sent." in done.stdout
    assert "my-model on nano-energy" in done.stdout
