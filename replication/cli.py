"""``python -m replication <verb>``: every step of the pipeline, usable without the workflow.

Exit codes: 0 done, 1 a bug (with a traceback), 2 the user's input or machine, with one message that says what to do,
130 interrupted. Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from replication import verbs
from replication.errors import ReplicationError

Arguments = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.handler(options) or 0
        return code
    except ReplicationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        where = error.filename or options.results
        print(f"error: {where}: {error.strerror}; free disk space or choose a writable folder", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m replication",
        description="Do the gains claimed by detection papers hold up? Every step of the pipeline is a verb.",
    )
    subparsers = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_catalog(subparsers)
    _add_data(subparsers)
    _add_runs(subparsers)
    _add_results(subparsers)
    _add_exports(subparsers)
    return top


def _verb(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    protocol: bool = True,
) -> argparse.ArgumentParser:
    """A verb, handled by the function of its name in ``replication.verbs``."""
    verb = subparsers.add_parser(name, help=text, description=text)
    verb.set_defaults(handler=getattr(verbs, name), results=Path("results"))
    if protocol:
        verb.add_argument("--protocol", default="mini", help="name in configs/protocols or path of a .yaml file")
        verb.add_argument("--results", type=Path, default=Path("results"), help="folder of all results")
    return verb


def _tables_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--tables", type=_names, help="comma-separated table ids; default: the protocol's")


def _selection(verb: argparse.ArgumentParser) -> None:
    _tables_option(verb)
    verb.add_argument("--seeds", type=_at_least(1), help="runs of each variant; default: the protocol's")
    verb.add_argument("--backbones", type=_names, help="the papers' backbones to run; default: the protocol's")


def _run(verb: argparse.ArgumentParser, required: bool = True) -> None:
    verb.add_argument("--variant", required=required, help="see `python -m replication catalog`")
    verb.add_argument("--seed", type=_at_least(0), default=0)


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is less than {least}")
        return number

    whole.__name__ = "whole number"  # argparse names it in "invalid whole number value"
    return whole


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected HEIGHTxWIDTH in pixels, e.g. 480x640")
    return int(height), int(width)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name for name in text.split(",") if name))


def _format(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--format", choices=("table", "json"), default="table")


def _add_catalog(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(subparsers, "catalog", "print papers, tables, rows, variants, claims and their state", False)
    _format(verb)
    verb = _verb(subparsers, "plan", "say what would run, why, and how long it takes")
    _selection(verb)
    verb.add_argument(
        "--left", type=_at_least(1), metavar="CORES", help="only say in a line what is left on so many cores"
    )
    _format(verb)


def _add_data(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(subparsers, "data", "download a data set from its official address and unpack it", False)
    verb.add_argument("name", choices=("coco2017", "voc2007", "voc2012"))
    verb.add_argument("--root", type=Path, help="default: $DETECTRON2_DATASETS or ./datasets")
    verb.add_argument("--mirror", help="address of a folder that serves the same files")
    verb = _verb(subparsers, "prepare", "make or check a protocol's data and write its manifest and ground truth")
    verb = _verb(subparsers, "doctor", "check environment, data and weights; exit 2 on errors, 0 on warnings")
    verb.set_defaults(protocol=None)
    verb.add_argument("--deep", action="store_true", help="decode every image of large data sets too")
    verb.add_argument("-v", "--verbose", action="store_true", help="show what is in order, too")
    _format(verb)


def _add_runs(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(subparsers, "train", "train one run, or go on with it where it stopped")
    _run(verb)
    verb.add_argument("--restart", action="store_true", help="discard what the run's folder holds")
    verb.add_argument("--gpus", type=_at_least(1), default=1, help="processes, one a GPU, that share the batch")
    verb = _verb(subparsers, "detect", "run a trained model on the validation images")
    _run(verb)
    verb = _verb(subparsers, "proposals", "write a trained RPN's proposals, on which Fast R-CNN is trained")
    verb.add_argument("--variant", default="rpn_R50", help="the RPN; default: %(default)s")
    verb.set_defaults(seed=0)  # PROPOSALS_SEED, which is not imported before a verb needs it

    verb = _verb(subparsers, "figures", "compute what Libra R-CNN's figure 5 shows, or figure 3 of a trained detector")
    verb.add_argument("--variant", help="the detector of figure 3; without it figure 5, which needs none")
    verb.add_argument("--seed", type=_at_least(0), default=0, help="of the detector; default: 0")
    _add_time(subparsers)


def _add_time(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(subparsers, "time", "time variants in turns: ms an image by stage, and ms a training step")
    _tables_option(verb)
    verb.add_argument("--variants", type=_names, help="default: of the tables with latency; detectron2:NAME is its own")
    verb.add_argument("--rounds", type=_at_least(1), default=10, help="6 or more give an interval; default: 10")
    verb.add_argument("--images", type=_at_least(1), default=16, help="images a round; default: 16")
    verb.add_argument("--warmup", type=_at_least(1), default=2, help="passes before the clock starts; default: 2")
    verb.add_argument(
        "--training-steps",
        type=_at_least(0),
        default=2,
        help="a round, of eager fp32 or tf32; 0: inference alone; default: 2",
    )
    verb.add_argument("--size", type=_size, help="HEIGHTxWIDTH of all inputs; default: as the protocol resizes them")
    verb.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: the protocol's")
    verb.add_argument("--threads", type=_at_least(1), help="default: the protocol's")
    verb.add_argument("--precision", choices=("fp32", "tf32", "fp16", "bf16"), default="fp32")
    verb.add_argument("--compile", action="store_true", help="torch.compile backbone and heads; default: eager")
    verb.add_argument(
        "--weights", choices=("auto", "trained", "random"), default="auto", help="auto: trained if all are"
    )
    verb.add_argument("--candidates", type=_at_least(1), default=200, help="a level, for random weights; default: 200")
    verb.add_argument("--out", type=Path, help="folder; default: RESULTS/PROTOCOL/latency/DEVICE")


def _add_results(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(subparsers, "evaluate", "AP of a run, or of any detections against a ground truth")
    verb.add_argument("detections", type=Path, nargs="?", help="file or folder; without it --variant names a run")
    text = "COCO file, VOC image list or folder, YOLO data.yaml or folder"
    verb.add_argument("ground_truth", type=Path, nargs="?", help=text)
    _run(verb, required=False)
    criteria = ("iou", "giou", "giou_paper", "voc07", "voc", "voc07_giou", "voc_giou")
    verb.add_argument("--criterion", choices=criteria, help="what makes a detection true; default: iou")
    verb.add_argument("--against", type=Path, metavar="OTHER_DETECTIONS", help="detections to compare with, paired")
    text = "resamplings of the images for intervals, with --seed; default: 2000 with --against, else none"
    verb.add_argument("--bootstrap", type=_at_least(0), metavar="N", help=text)
    verb.add_argument("--verify", action="store_true", help="compare with pycocotools as installed, fail above 1e-12")
    verb.add_argument("--out", type=Path, help="also write the numbers to this JSON file")
    _format(verb)
    verb = _verb(subparsers, "verdicts", "judge the papers' claims by the finished runs and write verdicts.json")
    _tables_option(verb)
    _format(verb)
    for name, text in (
        ("tables", "render measured beside published numbers as Markdown, CSV and LaTeX"),
        ("report", "render one HTML page with tables, curves and provenance"),
    ):
        verb = _verb(subparsers, name, text)
        _tables_option(verb)


def _add_exports(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = _verb(subparsers, "export", "write the finished runs' results in the form of a model zoo")
    _tables_option(verb)
    forms = ("model-index", "metafile")
    verb.add_argument("--format", choices=forms, required=True, help="of Hugging Face's model cards, or OpenMMLab's")
    verb.add_argument("--source", metavar="URL", help="where the results are published, to be named as their source")
    verb.add_argument("--out", type=Path, help="file; default: in RESULTS/PROTOCOL/export")
    verb = _verb(subparsers, "submission", "write a run's detections as COCO's or VOC's test server takes them")
    _run(verb)
    text = "image info as image_info_test-dev2017.json; default: the protocol's validation images"
    verb.add_argument("--images", type=Path, metavar="IMAGE_INFO", help=text)
    verb.add_argument("--image-folder", type=Path, metavar="FOLDER", help="where the files of --images lie")
    verb.add_argument("--out", type=Path, help="folder; default: RESULTS/PROTOCOL/submission")
    verb = _verb(subparsers, "archive", "copy a protocol's results, without weights and detections, to keep them")
    verb.add_argument("--out", type=Path, default=Path("results/reference"), help="folder; default: %(default)s")
