"""Every error a user can cause. The command line prints the message alone and exits with 2.

A message names the file and the field, says what is wrong there, and what to do.
"""


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


class TimingError(ReplicationError):
    """A model cannot be timed: no memory, weights that do not fit."""


class ResultError(ReplicationError):
    """A result file is missing, incomplete, or does not belong with the others."""
