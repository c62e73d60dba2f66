"""Answers to the questions of reproducibility checklists, of what the runs' provenance records and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from replication.catalog import Protocol
from replication.export.claims import NO_RESULT
from replication.results.finished import FinishedRun

UNKNOWN = "not recorded"
PACKAGES = ("torch", "torchvision", "detectron2", "numpy", "pycocotools")


def checklist(
    document: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    protocol: Protocol,
    runs: Sequence[FinishedRun],
    data: str,
) -> str:
    """Markdown: a question and its answer each; what no run has recorded is said to be so."""
    answers = (*_code(runs), *_data(data, runs), *_runs(document, protocol, runs), *_claims(document, entries))
    body = "".join(f"**{question}** {answer}\n\n" for question, answer in answers)
    return f"# Reproducibility checklist: protocol {protocol.name}\n\n{body}"


def _code(runs: Sequence[FinishedRun]) -> Iterable[tuple[str, str]]:
    made = [run.provenance for run in runs]
    commits = _each(f"{one.commit}{' with uncommitted changes' if one.dirty else ''}" for one in made if one.commit)
    packages = _each(f"{name} {one.packages[name]}" for one in made for name in PACKAGES if name in one.packages)
    yield "Which version of the code made the results?", commits
    yield "Which versions of its dependencies?", packages
    yield "Which interpreter and system?", _each(f"Python {one.python}, {one.platform}" for one in made if one.python)
    weights = (f"{one.weights} (SHA-256 {one.weights_sha256 or UNKNOWN})" for one in made if one.weights)
    yield "Which pretrained weights do trainings start from?", _each(weights)


def _data(data: str, runs: Sequence[FinishedRun]) -> Iterable[tuple[str, str]]:
    yield "Which data?", data
    yield "What is their hash?", _each(run.provenance.data_hash for run in runs)


def _runs(document: Mapping[str, Any], protocol: Protocol, runs: Sequence[FinishedRun]) -> Iterable[tuple[str, str]]:
    made = [run.provenance for run in runs]
    counts = Counter(run.variant for run in runs)
    spans = _each(f"{number} seeds: {sum(own == number for own in counts.values())} variants" for number in
                  sorted(set(counts.values())))  # fmt: skip
    yield "How many runs per variant?", f"{spans}; {document['seeds_registered']} registered"
    yield "Which schedules?", _each(run.schedule for run in runs)
    yield "What are the hashes of the whole configurations?", _configs(runs)
    devices = (f"{one.processes}x {_device(one)}" for one in made if one.device is not None or one.cpu)
    yield "On which hardware?", _each(devices)
    # A test-time variant's run is of a training that another may have shown already.
    hours = {(run.weights_of, run.seed): run.provenance.seconds for run in runs}
    known = [seconds for seconds in hours.values() if seconds is not None]
    missing = f", of {len(hours) - len(known)} trainings {UNKNOWN}" if len(known) < len(hours) else ""
    yield (
        "How much computing did the trainings take?",
        (f"{sum(known) / 3600:.1f} hours of {len(known)} trainings{missing}" if known else UNKNOWN),
    )
    resumed = [f"{run.variant} seed {run.seed}" for run in runs if run.provenance.resumed_at]
    yield "Which trainings were interrupted and resumed?", ", ".join(resumed) or "none"
    foreign = [f"{run.variant} seed {run.seed}: {run.origin}" for run in runs if run.origin]
    yield "Which runs were made elsewhere?", "; ".join(foreign) or "none"
    yield (
        "What limits a comparison with published numbers?",
        ("nothing of scale: the protocol is the papers' own" if protocol.published_scale else document["head"]),
    )


def _configs(runs: Sequence[FinishedRun]) -> str:
    return _each(f"{run.variant} {run.provenance.config_hash or UNKNOWN}" for run in runs)


def _device(made: Any) -> str:
    return str(made.device.name if made.device is not None and made.device.type == "cuda" else made.cpu or "CPU")


def _claims(document: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    rules, plan = document["rules"], document["plan"]
    yield (
        "What do the intervals cover?",
        (
            f"{document['estimands'][rules['estimand']]}, at {100 * (1 - rules['alpha']):g}%; "
            f"analysis: {rules['analysis']}"
        ),
    )
    yield "How are several claims corrected for?", "Holm's procedure, primary and secondary claims of a paper apart"
    hashes = ", ".join(f"{paper} {digest}" for paper, digest in plan["papers"].items())
    yield "What is the plan that was judged by?", f"SHA-256: protocol {plan['protocol']}, {hashes}"
    yield "Did the controls pass?", f"{document['controls']['state']}: {document['controls']['reason']}"
    yield "Of which claims is no result stated, and why?", _silent(entries) or "none"
    yield "What else departs from the plan or limits the verdicts?", "; ".join(document["notes"]) or "nothing"


def _silent(entries: Sequence[Mapping[str, Any]]) -> str:
    """By verdict and reason the ids of the claims."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        if entry["verdict"] in NO_RESULT:
            groups.setdefault((entry["verdict"], entry["reason"].rstrip(". ") or UNKNOWN), []).append(entry["id"])
    return "; ".join(f"{verdict} ({reason}): {', '.join(names)}" for (verdict, reason), names in groups.items())


def _each(texts: Iterable[str]) -> str:
    """Every text once, in order."""
    return "; ".join(dict.fromkeys(filter(None, texts))) or UNKNOWN
