"""A Chromium for the tests that open the report's page: found, or installed where apt-get and root are at hand.

``python envs/browser.py`` never fails: without a browser those tests skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APT_LIMIT = 300  # seconds


def find() -> str | None:
    """The browser that ``$CHROMIUM`` names, or the first on the PATH that starts; None without one.

    A name on the PATH is not enough: Ubuntu's `chromium-browser` may be a stub that asks for snap.
    """
    for name in filter(None, (os.environ.get("CHROMIUM"), *NAMES)):
        path = shutil.which(name)
        if path is not None and _succeeds([path, "--version"], 30):
            return path
    return None


def install() -> str | None:
    """``find``, after an attempt to install Debian's package when there is none and the user is root."""
    path = find()
    if path is not None or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return path
    print("browser: installing chromium for the tests of the report's page", flush=True)
    apt = ["apt-get", "-qq", "-y", "--no-install-recommends"]
    if _succeeds([*apt, "update"], APT_LIMIT) and _succeeds([*apt, "install", "chromium"], APT_LIMIT):
        return find()
    return None


def _succeeds(command: list[str], seconds: float) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, env=environment, timeout=seconds, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    if install() is None:
        print("browser: none found; the tests of the report's page skip (CHROMIUM=PATH names one)")
