"""Pictures of a report for the README, taken by Chromium: desktop in light and dark, and a phone.

make screenshots REPORT=results/mini/report.html
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import browser
from PIL import Image

DESKTOP = (1280, 1400)
PHONE = (390, 844)
CHROMIUM = browser.find()
ALONE = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Load a page in Chromium with a new profile; raises CalledProcessError with its output when that fails."""
    if CHROMIUM is None:
        raise FileNotFoundError("no Chromium: install it (Debian: apt-get install chromium) or name it in CHROMIUM")
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, *ALONE, f"--user-data-dir={profile}", *options, page.resolve().as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def framed(page: Path, size: tuple[int, int], script: str = "", section: str = "") -> str:
    """A page that shows another in a frame of this size: Chromium's own window cannot be as narrow as a phone."""
    source = f"{page.resolve().as_uri()}#{section}"
    frame = f'<iframe src="{source}" style="width:{size[0]}px;height:{size[1]}px;border:0"></iframe>'
    return f'<!doctype html><meta charset="utf-8"><body style="margin:0">{frame}<script>{script}</script>'


def screenshots(report: Path, folder: Path) -> list[Path]:
    """Write ``report.png``, ``report-dark.png`` (1280 pixels wide) and ``report-phone.png`` (twice 390) to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in ("report", "report-dark", "report-phone")]
    window = f"--window-size={DESKTOP[0]},{DESKTOP[1]}"
    browse(report, window, f"--screenshot={paths[0].resolve()}")
    browse(report, window, "--blink-settings=preferredColorScheme=0", f"--screenshot={paths[1].resolve()}")
    with tempfile.TemporaryDirectory() as scratch:
        frame = Path(scratch) / "phone.html"
        frame.write_text(framed(report, PHONE, section="verdicts"))
        wide = f"--window-size={2 * PHONE[0]},{PHONE[1]}"
        browse(frame, wide, "--force-device-scale-factor=2", f"--screenshot={paths[2].resolve()}")
    with Image.open(paths[2]) as picture:
        picture.crop((0, 0, 2 * PHONE[0], 2 * PHONE[1])).save(paths[2])
    return paths


if __name__ == "__main__":
    report, folder = map(Path, sys.argv[1:])
    if not report.is_file():
        sys.exit(f"error: {report} is not there: `make reproduce` makes it, or name another with REPORT=")
    print(*screenshots(report, folder), sep="\n")
