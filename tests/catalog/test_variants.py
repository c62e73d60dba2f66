"""Reading variants without Detectron2: bases, defaults, and what can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replication.catalog import CONFIGS, load_catalog
from replication.catalog.variants import backbone_label, read_variant, read_variants, resolve
from replication.errors import ConfigError


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_defaults_of_detectron2(tmp_path: Path) -> None:
    variant = read_variant(write(tmp_path, leaf="VERSION: 2\n") / "leaf.yaml")
    assert (variant.name, variant.backbone, variant.meta_architecture) == ("leaf", "R-50", "GeneralizedRCNN")
    assert (variant.iterations, variant.masks, variant.state) == (40000, False, "built")


def test_defaults_are_what_detectron2_has() -> None:
    config = pytest.importorskip("detectron2.config")
    from replication.catalog.variants import DEFAULTS

    cfg = config.get_cfg()
    for key, default in DEFAULTS.items():
        node = cfg
        for part in key.split("."):
            node = node[part]
        assert node == default, key


def test_chain_of_bases(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", Base="MODEL: {META_ARCHITECTURE: RetinaNet, MASK_ON: true}\nSOLVER: {MAX_ITER: 10}\n")
    write(
        tmp_path,
        _middle="_BASE_: deep/Base.yaml\nMODEL: {RESNETS: {DEPTH: 101, WIDTH_PER_GROUP: 4}}\nSOLVER: {MAX_ITER: 20}\n",
        leaf="_BASE_: _middle.yaml\nMODEL: {RESNETS: {NUM_GROUPS: 64}, MASK_ON: false}\n",
    )
    variant = read_variants(tmp_path)["leaf"]
    assert variant.backbone == "X-101-64x4d"
    assert variant.meta_architecture == "RetinaNet"
    assert (variant.iterations, variant.masks) == (20, False)
    assert variant.path == tmp_path / "leaf.yaml"


def test_list_of_bases_the_later_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        _one="SOLVER: {MAX_ITER: 1, STEPS: [5]}\n",
        _two="SOLVER: {MAX_ITER: 2}\n",
        leaf="_BASE_: [_one.yaml, _two.yaml]\nMODEL: {MASK_ON: true}\n",
    )
    assert resolve(tmp_path / "leaf.yaml") == {"SOLVER": {"MAX_ITER": 2, "STEPS": [5]}, "MODEL": {"MASK_ON": True}}


def test_same_base_by_two_ways_is_no_cycle(tmp_path: Path) -> None:
    write(
        tmp_path,
        _root="SOLVER: {MAX_ITER: 7}\n",
        _a="_BASE_: _root.yaml\n",
        _b="_BASE_: _root.yaml\n",
        leaf="_BASE_: [_a.yaml, _b.yaml]\n",
    )
    assert read_variant(tmp_path / "leaf.yaml").iterations == 7


def test_bases_are_no_variants(tmp_path: Path) -> None:
    write(tmp_path, _x="A: 1\n", **{"Base-RCNN": "A: 1\n"}, b_R50="A: 1\n", a_R50="A: 1\n")
    assert list(read_variants(tmp_path)) == ["a_R50", "b_R50"]


def test_missing_base(tmp_path: Path) -> None:
    write(tmp_path, leaf="_BASE_: gone.yaml\n")
    with pytest.raises(ConfigError, match=r"leaf\.yaml: _BASE_: .*gone\.yaml does not exist"):
        read_variants(tmp_path)


def test_cycle(tmp_path: Path) -> None:
    write(tmp_path, _a="_BASE_: _b.yaml\n", _b="_BASE_: _a.yaml\n", leaf="_BASE_: _a.yaml\n")
    with pytest.raises(ConfigError, match=r"leaf\.yaml: _BASE_: .*leaf\.yaml -> _a\.yaml -> _b\.yaml -> _a\.yaml"):
        read_variants(tmp_path)


def test_base_of_itself(tmp_path: Path) -> None:
    write(tmp_path, leaf="_BASE_: leaf.yaml\n")
    with pytest.raises(ConfigError, match="in a circle"):
        read_variants(tmp_path)


@pytest.mark.parametrize("base", ["3", "https://example.org/a.yaml", "[{a: 1}]"])
def test_base_that_is_no_local_file(tmp_path: Path, base: str) -> None:
    write(tmp_path, leaf=f"_BASE_: {base}\n")
    with pytest.raises(ConfigError, match=r"leaf\.yaml: _BASE_: expected the path of a local file"):
        read_variants(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SOLVER: {MAX_ITER: soon}", "SOLVER.MAX_ITER: expected int, found 'soon'"),
        ("SOLVER: {MAX_ITER: true}", "SOLVER.MAX_ITER: expected int, found True"),
        ("MODEL: {MASK_ON: 1}", "MODEL.MASK_ON: expected bool, found 1"),
        ("MODEL: {META_ARCHITECTURE: [RetinaNet]}", "MODEL.META_ARCHITECTURE: expected str"),
        ("MODEL: RetinaNet", "MODEL.META_ARCHITECTURE: expected a section of keys above it, found 'RetinaNet'"),
        ("- MODEL", "expected a mapping of keys to values, found list"),
        ("MODEL: !!python/object/apply:os.getcwd []", "not readable as YAML"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, leaf=text + "\n")
    with pytest.raises(ConfigError) as caught:
        read_variants(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "leaf.yaml"))


def test_section_over_a_plain_value(tmp_path: Path) -> None:
    write(tmp_path, _base="MODEL: {RESNETS: 50}\n", leaf="_BASE_: _base.yaml\nMODEL: {RESNETS: {DEPTH: 50}}\n")
    with pytest.raises(
        ConfigError, match=r"leaf\.yaml: MODEL\.RESNETS: is a section here, but a plain value in _BASE_"
    ):
        read_variants(tmp_path)


def test_backbone_labels() -> None:
    assert backbone_label(50, 1, 64) == "R-50"
    assert backbone_label(101, 1, 64) == "R-101"
    assert backbone_label(101, 64, 4) == "X-101-64x4d"
    assert backbone_label(101, 32, 8) == "X-101-32x8d"


def test_shipped_variants_resolve_as_detectron2_does() -> None:
    common = pytest.importorskip("fvcore.common.config")
    paths = sorted((CONFIGS / "variants").glob("*.yaml"))
    assert paths
    for path in paths:
        expected = common.CfgNode.load_yaml_with_base(str(path), allow_unsafe=False)
        expected.get("MODEL", {}).pop("WEIGHTS_FROM", None)  # is no setting
        assert resolve(path) == expected, path


def test_fixed_proposals_are_an_rpn_s(tmp_path: Path) -> None:
    write(
        tmp_path,
        rpn_R50="MODEL: {META_ARCHITECTURE: ProposalNetwork}\n",
        fast_R50="DATASETS: {PROPOSALS_FROM: rpn_R50}\n",
    )
    variants = read_variants(tmp_path)
    assert (variants["fast_R50"].proposals_from, variants["fast_R50"].class_agnostic) == ("rpn_R50", False)
    assert (variants["rpn_R50"].proposals_from, variants["rpn_R50"].class_agnostic) == ("", True)


@pytest.mark.parametrize("source", ["gone_R50", "old_R50"])
def test_fixed_proposals_of_what_is_no_rpn(configs: Any, source: str) -> None:
    configs.variants["new_R50"]["DATASETS"] = {"PROPOSALS_FROM": source}
    with pytest.raises(ConfigError, match=rf"new_R50\.yaml: DATASETS\.PROPOSALS_FROM: '{source}' is not a built"):
        load_catalog(configs.write())


def leaf_of(source: str, **more: Any) -> dict[str, Any]:
    """The leaf of a test-time variant of ``source``, which in the test's folder starts from ``old_R50``."""
    return {"_BASE_": "old_R50.yaml", "MODEL": {"WEIGHTS_FROM": source}, "TEST": {"AUG": {"ENABLED": True}}} | more


def test_a_test_time_variant_takes_the_weights_of_another(configs: Any) -> None:
    configs.variants["new_R50"] = leaf_of("old_R50")
    variants = load_catalog(configs.write()).variants
    assert (variants["new_R50"].weights_from, variants["old_R50"].weights_from) == ("old_R50", "")
    assert [variants[name].trained.name for name in ("new_R50", "old_R50")] == ["old_R50", "old_R50"]


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (leaf_of("gone_R50"), "'gone_R50' is not a built variant; known: mid_R50, new_R50, old_R50"),
        (leaf_of("mid_R50"), "'mid_R50' uses the weights of 'old_R50' itself; name a variant that is trained"),
        (leaf_of("new_R50"), "'new_R50' uses the weights of 'new_R50' itself"),
        (leaf_of("old_R50", SOLVER={"MAX_ITER": 9}), "SOLVER.MAX_ITER: differs from old_R50, whose weights it uses"),
        (
            leaf_of("old_R50", MODEL={"WEIGHTS_FROM": "old_R50", "MASK_ON": False}, INPUT={"MIN_SIZE_TEST": 9}),
            "INPUT.MIN_SIZE_TEST, MODEL.MASK_ON: differs from old_R50",
        ),
        (leaf_of("old_R50", _BASE_=[]), "MODEL.META_ARCHITECTURE, SOLVER.MAX_ITER: differs from old_R50"),
    ],
)
def test_weights_that_are_not_those_of_the_detector(configs: Any, leaf: dict[str, Any], message: str) -> None:
    configs.variants |= {"mid_R50": leaf_of("old_R50"), "new_R50": leaf}
    with pytest.raises(ConfigError) as caught:
        load_catalog(configs.write())
    assert str(caught.value).startswith(
        f"{configs.folder / 'variants' / 'new_R50.yaml'}: MODEL.WEIGHTS_FROM: {message}"
    )
    assert "\n" not in str(caught.value)


def test_proposals_are_of_an_rpn_that_is_trained(configs: Any) -> None:
    configs.variants["Base-Toy"]["MODEL"]["META_ARCHITECTURE"] = "ProposalNetwork"
    configs.variants["mid_R50"] = leaf_of("old_R50")
    configs.variants["new_R50"]["DATASETS"] = {"PROPOSALS_FROM": "mid_R50"}
    with pytest.raises(ConfigError, match=r"PROPOSALS_FROM: 'mid_R50' is not a built variant that is an RPN alone"):
        load_catalog(configs.write())
