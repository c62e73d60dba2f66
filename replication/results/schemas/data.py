"""The files of a protocol's data and of the proposals that Fast R-CNN is trained on."""

from __future__ import annotations

from msgspec import field

from replication.results.schemas.document import Count, Document, Part


class SplitCounts(Part, frozen=True, kw_only=True):
    """Images and objects of one split; ``folder`` is relative to the data root where it lies under it."""

    folder: str
    images: Count | None = None
    objects: Count | None = None


class Data(Document, frozen=True, kw_only=True):
    """``data.json``: the data of a protocol. ``category_ids`` are those of ``classes``, in the same order."""

    SCHEMA = "data/1"
    REMEDY = "run `replication prepare` again"

    data_hash: str
    classes: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    splits: dict[str, SplitCounts] = field(default_factory=dict)

    def problem(self) -> str:
        """Every class has one id."""
        same = len(self.classes) == len(self.category_ids)
        return "" if same else f"category_ids: {len(self.category_ids)} for {len(self.classes)} classes"


class Proposals(Document, frozen=True, kw_only=True):
    """``<split>.json``: of which images the proposals in ``<split>.f32`` are, and how many of each.

    ``sha256`` is that of ``<split>.f32``, ``data_hash`` of the data whose images they are.
    """

    SCHEMA = "proposals/1"
    REMEDY = "run `replication proposals` for its variant again"

    data_hash: str
    sha256: str
    image_ids: tuple[int, ...]
    counts: tuple[Count, ...]

    def problem(self) -> str:
        """Every image has a count."""
        same = len(self.image_ids) == len(self.counts)
        return "" if same else f"counts: {len(self.counts)} for {len(self.image_ids)} image_ids"
