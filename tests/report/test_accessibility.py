"""axe-core finds nothing serious on the page, everything unfolded: in Chromium, where npm can fetch axe-core."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import screenshots

from replication.report import write_report
from replication.verdicts import write_verdicts
from tests.report.test_outcomes import CLASSES, outcomes

AXE = "axe-core@4.10.3"
SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"
"""Of ``axe.min.js`` in that package."""
SERIOUS = ("serious", "critical")
RUN = """
document.querySelectorAll("details").forEach(one => one.open = true);
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const said = found.violations.map(one => [one.impact, one.id, one.nodes.map(node => node.html.slice(0, 200))]);
  document.title = JSON.stringify({passed: found.passes.length, said});
});"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(screenshots.CHROMIUM is None, reason="no Chromium: install it, or name it in CHROMIUM"),
]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, of a known hash."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on the PATH, which fetches axe-core")
    done = subprocess.run([npm, "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, timeout=300)
    packed = sorted(folder.glob("*.tgz"))
    if done.returncode or not packed:
        pytest.skip(f"npm cannot fetch {AXE}: {done.stderr.strip()[-200:]}")
    with tarfile.open(packed[0]) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        source = member.read()
    assert hashlib.sha256(source).hexdigest() == SHA256
    return source.decode()


def findings(page: Path, axe: str, folder: Path) -> list[list]:
    """Impact, rule and elements of what axe-core finds on a page."""
    tested = folder / "tested.html"
    tested.write_text(page.read_text().replace("</body>", f"<script>{axe}</script><script>{RUN}</script></body>"))
    window = f"--window-size={screenshots.DESKTOP[0]},{screenshots.DESKTOP[1]}"
    dom = screenshots.browse(tested, window, "--virtual-time-budget=60000", "--dump-dom").stdout
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom)[1]))
    assert found["passed"] > 0
    return found["said"]


def test_no_serious_finding(catalog, protocol, results, add_run, axe, tmp_path):
    from replication.catalog import load_judging

    for variant in ("base", "iou", "giou", "big"):
        for seed in range(2):
            add_run(variant, seed, 30 + seed, per_class=CLASSES, outcomes=outcomes(10 + seed))
    write_verdicts(catalog, protocol, results, ["giou-T5", "libra-T1"], load_judging())
    page = write_report(catalog, protocol, results, ["giou-T5", "libra-T1"])
    found = findings(page, axe, tmp_path)
    assert [one for one in found if one[0] in SERIOUS] == []


def test_a_serious_finding_would_be_seen(axe, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><title>x</title><body><main><h1>x</h1><p '
        'style="color:#ccc;background:#fff">faint</p><img src="data:,"></main></body></html>'
    )
    assert {one[1] for one in findings(page, axe, tmp_path) if one[0] in SERIOUS} >= {"color-contrast", "image-alt"}
