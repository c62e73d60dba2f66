"""A run: variant x protocol x seed, in a results folder. The unit of training and of replication."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from replication.results.layout import Layout, RunFiles

if TYPE_CHECKING:
    from replication.catalog import Protocol, Variant


@dataclass(frozen=True)
class Run:
    """One run, whether it has been trained or not."""

    variant: Variant
    protocol: Protocol = field(hash=False)  # holds mappings, which have no hash
    seed: int
    results: Path

    @property
    def layout(self) -> Layout:
        """Where the protocol's results lie."""
        return Layout(self.results, self.protocol.name)

    @property
    def files(self) -> RunFiles:
        """Where its own lie."""
        return self.layout.run(self.variant.name, self.seed)

    @property
    def folder(self) -> Path:
        """``results/<protocol>/runs/<variant>/seed<k>``."""
        return self.files.folder

    @property
    def trained(self) -> Run:
        """The run whose training makes its weights: itself or, of a test-time variant, its source's of that seed."""
        return replace(self, variant=self.variant.trained)

    @property
    def finished(self) -> Path:
        """The file that says, by being there, that its training is finished; not of a test-time variant."""
        return self.files.received if self.variant.command else self.files.model

    @property
    def label(self) -> str:
        """For progress lines."""
        return f"{self.variant.name} seed {self.seed}"
