"""Every error a user can cause. The command line prints the message alone and exits with 2.

A message names the file and the field, says what is wrong there, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean a, b? `` for the known names that are closest to ``name``; empty when none is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known))
    return f"did you mean {', '.join(close)}? " if close else ""


class ReplicationError(Exception):
    """Base of all errors with a message meant for the user."""


class ConfigError(ReplicationError):
    """A paper, variant or protocol file, or a command-line value, is wrong."""


class DataError(ReplicationError):
    """An image, an annotation file or a data set folder is missing or wrong."""


class WeightsError(ReplicationError):
    """Backbone weights or a checkpoint are missing or do not have the expected hash."""


class TrainingError(ReplicationError):
    """A training cannot go on: non-finite loss, folder in use, no device."""


class LockedError(ReplicationError):
    """A folder in which another process works."""


class TimingError(ReplicationError):
    """A model cannot be timed: no memory, weights that do not fit."""


class ResultError(ReplicationError):
    """A result file is missing, incomplete, or does not belong with the others."""
