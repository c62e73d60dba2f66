from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from replication.catalog import Protocol, load_catalog, load_protocol
from replication.errors import ConfigError
from replication.planning import cluster, rule_values
from replication.planning.costs import recorded_costs
from replication.planning.output import plan_json, plan_left, plan_table
from replication.planning.plan import Plan, make_plan
from replication.planning.steps import Step, steps
from replication.planning.workflow import choice, from_workflow, variant_pattern, where
from replication.results.files import write_json
from replication.results.fingerprint import training_fingerprint

CATALOG = load_catalog()


def plan_of(results: Path, protocol: str = "smoke", **choice: object) -> Plan:
    return make_plan(CATALOG, load_protocol(protocol), results, **choice)  # type: ignore[arg-type]


def finished(plan: Plan, index: int, **made: object) -> Path:
    run = plan.runs[index]
    folder = run.folder
    content = {
        "config_hash": "c", "data_hash": "d", "fingerprint": "f", "s_per_iter": 0.5, "processes": 1,
        "training_fingerprint": training_fingerprint(run.variant, run.protocol), "device": {"name": "cpu"},
    }  # fmt: skip
    write_json(folder / "provenance.json", "provenance/1", {**content, **made})
    (folder / "model_final.pth").write_text("")
    (folder / "metrics.json").write_text("")
    return folder


def test_states_and_reasons(tmp_path: Path):
    plan = plan_of(tmp_path, tables=["giou-T5"], seeds=2)
    assert [run.seed for run in plan.runs] == [0, 0, 0, 1, 1, 1]
    finished(plan, 0)
    finished(plan, 1, training_fingerprint="old")
    finished(plan, 2)
    (plan.runs[2].folder / "metrics.json").unlink()
    half = plan.runs[3].folder
    half.mkdir(parents=True)
    (half / "checkpoint_0000004.pth").write_text("")
    states = [step.state for step in steps(plan)]
    assert states == ["done", "outdated", "trained", "partial", "to do", "to do"]
    assert steps(plan)[3].reason == "interrupted; checkpoint at iteration 4"
    assert [step.seconds for step in steps(plan)] == [0.0, 3.0, 0.0, 1.0, 3.0, 3.0]
    assert plan_json(plan)["seconds"] == 10.0
    assert "code or settings of the training have changed" in plan_table(plan)
    assert plan_left(plan, 1) == "workflow: 2 of 6 runs trained, about 0 min 10 s of training remaining"
    assert (
        plan_left(plan, 2) == "workflow: 2 of 6 runs trained, about 0 min 05 s of training remaining with 2 in parallel"
    )


def test_options_of_a_workflow_choose_its_plan(tmp_path: Path):
    config = {"tables": "giou-T5,libra-T2", "seeds": 2, "backbones": ["R-50"]}
    assert choice(config) == "--tables=giou-T5,libra-T2 --backbones=R-50 --seeds=2"
    assert choice({"protocol": "smoke"}) == ""
    plan = from_workflow({**config, "protocol": "smoke", "results": str(tmp_path)})
    # The RPN only serves: no table of these shows it.
    assert {run.variant.name for run in plan.runs} - {run.variant.name for run in plan.shown} == {"rpn_R50"}


def test_options_are_quoted_for_a_shell():
    config = {"protocol": "my protocol.yaml", "results": "my 'results' $(date)", "tables": "a b"}
    assert shlex.split(where(config)) == ["--protocol=my protocol.yaml", "--results=my 'results' $(date)"]
    assert shlex.split(where({})) == ["--protocol=mini", "--results=results"]
    assert shlex.split(choice(config)) == ["--tables=a b"]


def test_paper_costs_gpu_hours(tmp_path: Path):
    plan = plan_of(tmp_path, "paper", tables=["giou-T5"], seeds=1)
    baseline = steps(plan)[0]
    # 90,000 iterations of 0.219 s on 8 GPUs
    assert (baseline.iterations, baseline.gpu_hours) == (90_000, 43.8)
    assert json.loads(json.dumps(plan_json(plan)))["gpu_hours"] == pytest.approx(3 * 43.8)
    assert "GPU-hours" in plan_table(plan)


def test_unknown_costs_are_said_not_guessed(tmp_path: Path):
    plan = plan_of(tmp_path, tables=["giou-T5"])
    assert steps(plan)[0].seconds is None
    assert cluster.training_minutes(plan, plan.runs[0].variant.name) == 0
    assert "time unknown for 3" in plan_table(plan)
    assert plan_left(plan, 1).endswith("remaining, and 3 runs whose time is unknown")


def test_first_tables_come_first(tmp_path: Path):
    plan = plan_of(tmp_path, tables=["giou-T7", "giou-T5"])
    assert rule_values.priority(plan, "mask_rcnn_R50_smooth_l1") > rule_values.priority(plan, "faster_rcnn_R50_giou")


def test_tables_that_can_be_judged_before_the_last_runs(tmp_path: Path):
    plan = plan_of(tmp_path, "mini")
    assert plan.tables == ("giou-T5", "giou-controls", "fsaf-controls", "fsaf-T1", "fsaf-T2", "libra-T1")
    assert plan.interim == ["giou-T5", "fsaf-T1", "fsaf-T2"], "controls make no claims, and libra-T1 is the last"
    assert plan.runs_until("giou-T5") == list(plan.runs[:9])
    assert plan.runs_until("libra-T1") == plan.shown
    assert plan_of(tmp_path, tables=["giou-T5"]).interim == []
    assert plan_of(tmp_path, tables=["giou-T5", "giou-T6"]).interim == [], "of the same runs"


def test_training_fingerprint_follows_what_a_training_computes(tmp_path: Path):
    protocol = load_protocol("smoke")

    def mark(variant: str = "faster_rcnn_R50_giou", **update: object) -> str:
        changed = Protocol.model_validate({**protocol.model_dump(), **update})
        return training_fingerprint(CATALOG.variants[variant], changed)

    areas = {"small": (0, 9), "medium": (9, 99), "large": (99, 1e9)}
    others = {"overrides": {**protocol.overrides, "ReplicationRetinaNet": {}}}
    assert mark() == mark(title="x", seeds=5, area_ranges=areas) == mark(**others)
    assert len({mark(), mark(batch=3), mark("retinanet_R50"), mark("retinanet_R50", **others)}) == 4


def test_data_state_follows_annotation_files(tmp_path: Path):
    (tmp_path / "a.json").write_text("{}")
    split = {"annotations": str(tmp_path / "a.json"), "images": str(tmp_path)}
    data = {"kind": "coco", "train": split, "val": split}
    protocol = Protocol.model_validate({**load_protocol("smoke").model_dump(), "data": data})
    plan = Plan(protocol, CATALOG, tmp_path, (), ())
    before, settings = rule_values.data_state(plan), rule_values.data_settings(plan)
    (tmp_path / "a.json").write_text('{"corrected": 1}')
    assert rule_values.data_state(plan) != before
    # A training is not thrown away for it, nor for data that were not there when the workflow was first read.
    (tmp_path / "a.json").unlink()
    assert rule_values.data_settings(plan) == settings
    other = Plan(load_protocol("mini"), CATALOG, tmp_path, (), ())
    assert rule_values.data_settings(other) != settings


def test_only_tables_with_latency_are_timed_with_weights_of_the_first_seed(tmp_path: Path):
    plan = plan_of(tmp_path, tables=["giou-T5", "fsaf-T2"], seeds=2, backbones=["R-50", "R-101"])
    built = [row.variant for row in CATALOG.table("fsaf-T2").rows if row.backbone != "X-101-64x4d"]
    assert list(plan.timed) == plan.timed_in("fsaf-T2") == [name for name in built if name in CATALOG.variants]
    assert "retinanet_R101" in plan.timed
    assert plan.timed_in("giou-T5") == []
    assert {run.variant.name for run in plan.timed_runs} == set(plan.timed)
    assert {run.seed for run in plan.timed_runs} == {0}
    assert plan_of(tmp_path, tables=["giou-T5"]).timed == ()


@pytest.mark.parametrize("tables", ["giou-T5,giou-T7", ["giou-T5", "giou-T7"]])
def test_workflow_config(tables: object):
    plan = from_workflow({"protocol": "smoke", "tables": tables, "seeds": 2, "results": "elsewhere"})
    assert plan.tables == ("giou-T5", "giou-T7")
    assert plan.results == Path("elsewhere")
    assert len(plan.runs) == 12


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"protocoll": "smoke"},
            r"--config protocoll: unknown key; did you mean protocol\? known: backbones, configs, gpus, protocol",
        ),
        ({"protocol": "smoke", "seeds": "many"}, "--config seeds: expected a whole number"),
        ({"protocol": "smoke", "seeds": 0}, "--config seeds"),
        ({"protocol": "smoke", "results": None}, "--config results: expected a folder"),
        ({"protocol": "smoke", "results": "a{b}"}, "--config results: a{b}: Snakemake reads braces as wildcards"),
        ({"protocol": "smoke", "tables": "giou-T99"}, "giou-T99"),
        ({"protocol": "no_such"}, "no_such.*known protocols: .*mini"),
        ({"protocol": "paper", "tables": "giou-T4"}, "giou-T4 is of benchmark voc2007"),
        ({"protocol": "smoke", "backbones": "R-18"}, "R-18"),
    ],
)
def test_a_wrong_workflow_config_names_the_key(config: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        from_workflow(config)


def test_downloads_follow_the_protocols_data():
    assert rule_values.downloads(from_workflow({"protocol": "paper"})) == ("coco2017",)
    assert rule_values.downloads(from_workflow({"protocol": "paper_voc"})) == ("voc2007",)
    assert rule_values.downloads(from_workflow({"protocol": "mini"})) == ()


def test_an_rpn_is_run_for_those_that_need_its_proposals(tmp_path: Path):
    plan = plan_of(tmp_path, tables=["libra-T1", "libra-T2"], seeds=2)
    names = [(run.variant.name, run.seed) for run in plan.runs]
    assert names.count(("rpn_R50", 0)) == 1
    assert ("rpn_R50", 1) not in names
    assert names.index(("rpn_R50", 0)) == names.index(("fast_rcnn_R50", 0)) - 1
    files = rule_values.proposals(plan, "fast_rcnn_R50")
    assert files == [str(tmp_path / "smoke" / "proposals" / "rpn_R50" / f"{name}.json") for name in ("train", "val")]
    assert rule_values.proposals(plan, "libra_rcnn_R50") == []
    folder = finished(plan, names.index(("rpn_R50", 0)))
    (folder / "metrics.json").unlink()
    assert steps(plan_of(tmp_path, tables=["libra-T2"]))[0].state == "trained"
    Path(files[1]).parent.mkdir(parents=True)
    Path(files[1]).write_text("")
    assert steps(plan_of(tmp_path, tables=["libra-T2"]))[0].state == "done"


@pytest.mark.parametrize(
    ("tables", "names"),
    [
        (["giou-T5"], []),
        (["giou-T5", "libra-T1"], ["sampling.json", "balanced_l1.json"]),
        *[([f"libra-T{number}"], ["balanced_l1.json"]) for number in range(2, 7)],
    ],
)
def test_figure_5_needs_a_table_of_its_paper_and_figure_3_its_detector_too(
    tables: list[str], names: list[str], tmp_path: Path
):
    plan = plan_of(tmp_path, tables=tables)
    assert [Path(path).name for path in plan.figure_data] == names
    assert all(Path(path).parent == tmp_path / "smoke" / "figures" / "data" / "libra_rcnn" for path in plan.figure_data)


def test_a_figure_s_data_need_the_run_that_the_paper_names(tmp_path: Path):
    plan = plan_of(tmp_path, tables=["libra-T1"])
    run = tmp_path / "smoke" / "runs" / "faster_rcnn_R50" / "seed0"
    assert rule_values.figure_inputs(plan, "libra_rcnn", "sampling") == [str(run / "trained.done")]
    assert rule_values.figure_inputs(plan, "libra_rcnn", "balanced_l1") == []


def test_a_test_time_variant_needs_its_source_and_no_training(tmp_path: Path):
    def found() -> dict[tuple[str, int], Step]:
        plan = plan_of(tmp_path, "paper", tables=["fsaf-T3"], seeds=2, backbones=["X-101-64x4d"])
        return {(step.run.variant.name, step.run.seed): step for step in steps(plan)}

    source, tta = "fsaf_X101_joint_jitter", "fsaf_X101_joint_jitter_tta"
    assert list(found()) == [(source, 0), (tta, 0), (source, 1), (tta, 1)]
    one = found()[tta, 1]
    assert (one.state, one.reason) == ("needs weights", f"of {source} seed 1, which is to be trained")
    assert (one.iterations, one.seconds, one.gpu_hours) == (0, 0.0, None)

    plan = plan_of(tmp_path, "paper", tables=["fsaf-T3"], seeds=2, backbones=["X-101-64x4d"])
    assert [(run.variant.name, run.seed) for run in plan.trainings] == [(source, 0), (source, 1)]
    assert plan_json(plan)["seconds"] == 2 * 135_000 * 0.993
    assert plan_left(plan, 1).startswith("workflow: 0 of 2 runs trained, ")
    assert rule_values.priority(plan, source) > rule_values.priority(plan, tta)
    assert rule_values.training(plan, tta) == rule_values.training(plan, source)
    folder = tmp_path / "paper" / "runs" / source / "seed1"
    assert rule_values.weights(plan, tta, 1) == rule_values.weights(plan, source, 1) == str(folder / "trained.done")

    finished(plan, 2)
    assert [found()[tta, seed].state for seed in (0, 1)] == ["needs weights", "to do"]
    settings = rule_values.settings(plan, tta)
    assert settings != rule_values.settings(plan, source)
    finished(plan, 3, settings_fingerprint=settings)
    (tmp_path / "paper" / "runs" / tta / "seed1" / "model_final.pth").unlink()
    assert [found()[tta, seed].state for seed in (0, 1)] == ["needs weights", "done"]
    for changed in ({"training_fingerprint": "old"}, {"settings_fingerprint": "old"}, {"finished": "an earlier day"}):
        finished(plan, 3, **{"settings_fingerprint": settings, **changed})
        assert (found()[tta, 1].state, found()[source, 1].state) == ("outdated", "done")
    finished(plan, 2, training_fingerprint="old")
    assert found()[tta, 1].state == "needs weights"


def test_a_source_that_no_table_shows_is_run_for_its_test_time_variant(tmp_path: Path):
    table = CATALOG.table("fsaf-T3")
    alone = table.model_copy(update={"rows": [row for row in table.rows if row.id == "joint_x101_multiscale"]})
    paper = CATALOG.papers["fsaf"].model_copy(update={"tables": [alone], "claims": []})
    catalog = CATALOG.model_copy(update={"papers": {"fsaf": paper}})
    plan = make_plan(catalog, load_protocol("paper"), tmp_path, ["fsaf-T3"], 1)
    assert [run.variant.name for run in plan.runs] == ["fsaf_X101_joint_jitter", "fsaf_X101_joint_jitter_tta"]
    assert [run.variant.name for run in plan.shown] == ["fsaf_X101_joint_jitter_tta"]


def test_a_test_in_several_views_is_not_timed(tmp_path: Path):
    table = CATALOG.table("fsaf-T3")
    timed = [column.model_copy(update={"metric": "ms_per_image"}) for column in table.columns]
    paper = CATALOG.papers["fsaf"].model_copy(update={"tables": [table.model_copy(update={"columns": timed})]})
    catalog = CATALOG.model_copy(update={"papers": {"fsaf": paper}})
    plan = make_plan(catalog, load_protocol("paper"), tmp_path, ["fsaf-T3"], 2, ["X-101-64x4d"])
    assert plan.timed == ("fsaf_X101_joint_jitter",)
    assert [run.folder for run in plan.timed_runs] == [tmp_path / "paper" / "runs" / "fsaf_X101_joint_jitter" / "seed0"]


def test_rules_tell_test_time_variants_from_trained_ones_by_name():
    tta = variant_pattern(CATALOG, trained=False)
    assert tta == "fsaf_X101_joint_jitter_tta"
    trained = re.compile(variant_pattern(CATALOG, trained=True))
    assert {name for name in CATALOG.variants if not trained.fullmatch(name)} == {tta}
    none = CATALOG.model_copy(update={"variants": {"retinanet_R50": CATALOG.variants["retinanet_R50"]}})
    assert not re.search(variant_pattern(none, trained=False), "retinanet_R50")


def test_costs_of_training_are_recorded_of_variants_that_are_trained():
    assert recorded_costs()
    assert not [name for _, name in recorded_costs() if CATALOG.variants[name].weights_from]


def test_tables_and_figures_belong_to_a_paper(tmp_path: Path):
    plan = plan_of(tmp_path)
    owners = {"giou-T5": "giou", "fsaf-T2_latency": "fsaf", "libra-T1_effects": "libra_rcnn", "giou_forest": "giou"}
    assert {name: plan.paper_of(name) for name in owners} == owners
    assert plan.paper_of("libra_rcnn_sampling") == "libra_rcnn"
    with pytest.raises(KeyError, match="no paper has a table or figure 'other'"):
        plan.paper_of("other")
