"""What is wrong with an input: collected while it is read, raised as one error that names file, place and remedy."""

from __future__ import annotations

from pathlib import Path

from replication.errors import DataError, ReplicationError

SHOWN = 5  # problems that an error message quotes


class RejectedData(DataError):
    """Annotations that cannot be used. ``problems`` holds all of them, the message quotes the first SHOWN."""

    def __init__(self, source: Path, problems: list[str], advice: str) -> None:
        self.source, self.problems, self.advice = source, tuple(problems), advice
        count, rest = len(problems), len(problems) - SHOWN
        if count == 1:
            super().__init__(f"{source}: {problems[0]}; {advice}")
            return
        lines = [f"{source}: {count} problems; {advice}", *problems[:SHOWN]]
        super().__init__("\n  ".join(lines + ([f"... and {rest} more"] if rest > 0 else [])))


class Problems:
    """Collects what is wrong in one file or folder; ``error`` is what is raised at once where reading cannot go on."""

    def __init__(self, source: Path, error: type[ReplicationError] = DataError) -> None:
        self.source, self.error = source, error
        self.found: list[str] = []

    def add(self, where: str, problem: str) -> None:
        """Remember a problem and the place it is in."""
        self.found.append(f"{where}: {problem}")

    def stop(self, advice: str = "correct the file, then run again") -> None:
        """Raise RejectedData with the problems so far; nothing when there are none."""
        if self.found:
            raise RejectedData(self.source, self.found, advice)

    def fail(self, where: str, problem: str) -> ReplicationError:
        """The error of one place, to be raised at once."""
        return self.error(f"{self.source}: {where}: {problem}")
