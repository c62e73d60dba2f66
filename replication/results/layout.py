"""Where everything under a results folder lies. Who reads or writes a path there asks here, the Snakefile too.

``results/<protocol>/`` holds one protocol's results::

    data.json  ground_truth.json  verdicts.json  report.html  archive.json  merged.json
    runs/<variant>/seed<k>/       one run (``RunFiles``)
    proposals/<variant>/          fixed proposals of an RPN: <split>.json, <split>.f32
    latency/<device>/             <variant>.json; latency/timed.done says that the workflow has timed
    tables/  figures/data/<paper>/  figures/svg/  export/  submission/  logs/

Whatever the protocol, ``results/downloads/<name>.done`` says that a data set was fetched, and ``results/features/``
holds the features of backbones that are not trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DETECTIONS = "detections.json"
"""Detections of a run by their name, in its folder and in that of a command."""


@dataclass(frozen=True)
class RunFiles:
    """The folder of one run, variant x protocol x seed, and the files in it."""

    folder: Path

    @property
    def config(self) -> Path:
        """The whole Detectron2 config that the run was trained with."""
        return self.folder / "config.yaml"

    @property
    def model(self) -> Path:
        """The trained weights; there when, and only when, the training is finished."""
        return self.folder / "model_final.pth"

    @property
    def received(self) -> Path:
        """The checked detections of a variant that is a command; there when, and only when, it is finished."""
        return self.folder / "received.json"

    @property
    def command(self) -> Path:
        """The folder of a command's own, which it finds again when it is started again."""
        return self.folder / "command"

    @property
    def attempt(self) -> Path:
        """Of which command, code and data that folder is."""
        return self.folder / "attempt.json"

    @property
    def command_log(self) -> Path:
        """The whole output of a command, of all attempts."""
        return self.folder / "command.log"

    @property
    def provenance(self) -> Path:
        """What made the weights (``schemas.Provenance``)."""
        return self.folder / "provenance.json"

    @property
    def curves(self) -> Path:
        """Losses over the training, a JSON object per line."""
        return self.folder / "curves.jsonl"

    @property
    def detections(self) -> Path:
        """Detections on the validation images, COCO's result format."""
        return self.folder / DETECTIONS

    @property
    def metrics(self) -> Path:
        """AP and recall of the detections (``schemas.Metrics``)."""
        return self.folder / "metrics.json"

    @property
    def levels(self) -> Path:
        """Which pyramid level each object selects in an FSAF (``schemas.Levels``)."""
        return self.folder / "levels.json"

    @property
    def mechanism(self) -> Path:
        """How the trained detector exercises what the papers' claims rest on (``schemas.Mechanism``)."""
        return self.folder / "mechanism.json"

    @property
    def matches(self) -> Path:
        """Folder of cached matches of the detections with the ground truth."""
        return self.folder / "matches"

    @property
    def trained(self) -> Path:
        """Says that the training is finished; the workflow declares it, since it deletes what a failed job declared."""
        return self.folder / "trained.done"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the run (``lease.lease``)."""
        return self.folder / ".lock"

    @property
    def checkpoints(self) -> list[Path]:
        """Checkpoints of a training under way, earliest first."""
        found = [path for path in self.folder.glob("checkpoint_*.pth") if _iteration(path).isdigit()]
        return sorted(found, key=lambda path: int(_iteration(path)))

    @property
    def abandoned(self) -> list[Path]:
        """Half-written checkpoints of a process that was killed (``files.replacing``)."""
        return list(self.folder.glob(".*.pth.*"))

    @property
    def leftovers(self) -> list[Path]:
        """Everything that a training or a test has left, which a training from the start must not meet."""
        patterns = ("*.done", "*.pth", ".*.pth.*", "*.sha256", "*.json", "*.jsonl", ".*.jsonl", "config.yaml")
        return [path for pattern in patterns for path in self.folder.glob(pattern)]


@dataclass(frozen=True)
class ProposalFiles:
    """Fixed proposals of one split: ``manifest`` says of which images, ``rows`` are the float32 numbers themselves."""

    manifest: Path

    @property
    def rows(self) -> Path:
        """Box and objectness of each proposal, five float32."""
        return self.manifest.with_suffix(".f32")


@dataclass(frozen=True)
class Layout:
    """The results of one protocol, by the protocol's name.

    Names may be the workflow's wildcards: ``run("{variant}", "{seed}")`` is the folder of all runs.
    """

    results: Path
    protocol: str

    @property
    def folder(self) -> Path:
        """``results/<protocol>``."""
        return self.results / self.protocol

    @property
    def lock(self) -> Path:
        """Held by the workflow that makes these results (``lease.lease``)."""
        return self.folder / ".workflow.lock"

    @property
    def data(self) -> Path:
        """What the protocol's data are (``schemas.Data``)."""
        return self.folder / "data.json"

    @property
    def weights(self) -> Path:
        """Says that the workflow has fetched the weights that its trainings start from."""
        return self.folder / "weights.done"

    @property
    def ground_truth(self) -> Path:
        """The validation objects, COCO's annotation format."""
        return self.folder / "ground_truth.json"

    def annotations(self, split: str) -> Path:
        """A split in COCO's format, for commands, where the data are not in one such file."""
        return self.folder / "annotations" / f"{split}.json"

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.folder / "runs"

    def run(self, variant: str, seed: int | str) -> RunFiles:
        """The files of one run."""
        return RunFiles(self.runs / variant / f"seed{seed}")

    def seeds(self, variant: str) -> Iterator[tuple[int, RunFiles]]:
        """Seed and files of every run of a variant that has a folder, in order of the seeds."""
        found = {
            int(match[1]): path
            for path in (self.runs / variant).glob("seed*")
            if (match := re.fullmatch(r"seed(\d+)", path.name))
        }
        return ((seed, RunFiles(found[seed])) for seed in sorted(found))

    def proposals(self, variant: str, split: str) -> ProposalFiles:
        """The fixed proposals of an RPN's variant on a split."""
        return ProposalFiles(self.folder / "proposals" / variant / f"{split}.json")

    @property
    def latency(self) -> Path:
        """Folder of all timings; it holds a folder per device."""
        return self.folder / "latency"

    @property
    def timed(self) -> Path:
        """Says that the workflow has timed."""
        return self.latency / "timed.done"

    @property
    def verdicts(self) -> Path:
        """The verdicts on the papers' claims."""
        return self.folder / "verdicts.json"

    def interim(self, table: str) -> Path:
        """Says that the workflow has printed a table's interim verdicts; gone once all claims are judged."""
        return self.folder / "logs" / "interim" / f"{table}.done"

    def table(self, table: str, form: str) -> Path:
        """One rendered table; ``form`` is md, csv or tex."""
        return self.folder / "tables" / f"{table}.{form}"

    def figure_data(self, paper: str, name: str) -> Path:
        """What a figure is drawn from, where that is no run's own file."""
        return self.folder / "figures" / "data" / paper / f"{name}.json"

    @property
    def svg(self) -> Path:
        """Folder of the drawn figures; nothing else lies there, so that the workflow may declare it as an output."""
        return self.folder / "figures" / "svg"

    def figure(self, name: str) -> Path:
        """One drawn figure."""
        return self.svg / f"{name}.svg"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    @property
    def export(self) -> Path:
        """Folder of what model zoos take."""
        return self.folder / "export"

    @property
    def submission(self) -> Path:
        """Folder of what test servers take."""
        return self.folder / "submission"

    @property
    def archive(self) -> Path:
        """Lists what the folder of an archive holds (``schemas.Archive``); only an archive has it."""
        return self.folder / "archive.json"

    @property
    def rendered(self) -> Layout:
        """Where tables and the page are written: here, but those of an archive, which is left as it is, in a folder
        ``rendered`` beside it.
        """
        return Layout(self.results / "rendered", self.protocol) if self.archive.exists() else self

    @property
    def merged(self) -> Path:
        """Lists where the runs of merged results are from (``schemas.Merged``); only those have it."""
        return self.folder / "merged.json"

    def log(self, name: str) -> Path:
        """The log of a step of the workflow."""
        return self.folder / "logs" / f"{name}.log"

    @property
    def features(self) -> Path:
        """Folder of the features that frozen backbones gave; may be deleted while nothing runs."""
        return self.results / "features"

    def download(self, name: str) -> Path:
        """Says that the workflow has fetched a data set."""
        return self.results / "downloads" / f"{name}.done"

    def download_log(self, name: str) -> Path:
        """The log of its fetching."""
        return self.results / "downloads" / f"{name}.log"

    @property
    def archived(self) -> list[Path]:
        """Files worth keeping that are there, those of runs apart."""
        single = [self.data, self.verdicts, self.report]
        folders = [self.table("*", "*"), self.figure_data("*", "*"), self.figure("*"), self.latency / "*" / "*.json"]
        several = [path for pattern in folders for path in sorted(self.folder.glob(_under(pattern, self.folder)))]
        return [path for path in (*single, *several) if path.is_file()]

    @property
    def evaluated(self) -> list[RunFiles]:
        """The runs that have metrics."""
        pattern = _under(self.run("*", "*").metrics, self.folder)
        return [RunFiles(path.parent) for path in sorted(self.folder.glob(pattern))]


def _iteration(checkpoint: Path) -> str:
    return checkpoint.stem.removeprefix("checkpoint_")


def _under(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
