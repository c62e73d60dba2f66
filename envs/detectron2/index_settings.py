"""Where pip is told to find packages, handed on to the tools that do not read pip's settings.

On many machines (a mirror, a proxy, an air-gapped network) only pip is configured. ``uv`` and
``unearth`` ignore that, so its settings are read with ``pip config list`` and translated.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

# pip's option -> uv's environment variable, and how uv separates several values. Not extra-index-url:
# uv takes all files of one version from one index, so an index with half of the files would hide the rest.
UV_NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
SCOPES = ("global", "install", ":env:")  # the later wins, as in pip


def pip_settings(python: str = sys.executable) -> dict[str, list[str]]:
    """Pip option -> its values, from pip's files and ``PIP_*`` variables; empty when pip is silent."""
    done = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True)
    return parse_settings(done.stdout) if done.returncode == 0 else {}


def parse_settings(listing: str) -> dict[str, list[str]]:
    """Pip option -> its values, from the text that ``pip config list`` prints."""
    found: dict[str, dict[str, list[str]]] = {scope: {} for scope in SCOPES}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        scope, _, option = key.rpartition(".")
        if equals and scope in found:
            found[scope][option] = str(ast.literal_eval(value)).split()
    return {option: values for scope in SCOPES for option, values in found[scope].items()}


def uv_environment(settings: dict[str, list[str]]) -> dict[str, str]:
    """Environment variables that make uv look where pip looks; what the user set for uv himself wins."""
    wanted = {}
    for option, values in settings.items():
        if option in UV_NAMES and values:
            name, separator = UV_NAMES[option]
            wanted[name] = separator.join(values)
    if settings.get("no-index") and settings["no-index"][0].lower() in ("1", "true", "yes", "on"):
        wanted["UV_NO_INDEX"] = "1"
    if "UV_INDEX_URL" in os.environ:  # the older name of UV_DEFAULT_INDEX
        wanted.pop("UV_DEFAULT_INDEX", None)
    return {name: value for name, value in wanted.items() if name not in os.environ}


def unearth_attempts(settings: dict[str, list[str]]) -> list[list[str]]:
    """Lists of options for ``unearth``, to be tried in turn; an empty list is the public package index."""
    indexes = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    main = indexes.split() if indexes else settings.get("index-url", [])
    others = [*os.environ.get("UV_INDEX", "").split(), *settings.get("extra-index-url", [])]
    options = [word for url in [*main, *others] for word in ("--index-url", url)]
    options += [word for place in settings.get("find-links", []) for word in ("--find-link", place)]
    options += [word for host in settings.get("trusted-host", []) for word in ("--trusted-host", host)]
    attempts = [options] if main or others or settings.get("find-links") else []
    public = not main and "UV_NO_INDEX" not in uv_environment(settings) and "UV_NO_INDEX" not in os.environ
    return [*attempts, []] if public else attempts
