"""The small run that the tests of trainings and of trained runs share."""

from support.job import _own_datasets, job

__all__ = ["_own_datasets", "job"]
