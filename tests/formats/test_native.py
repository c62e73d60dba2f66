"""The compiled library against what it stands for: numba's loops and the JSON library, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulation import detector, population

from replication.evaluation import curve_kernels, kernels, match_kernels, sweep_kernels
from replication.evaluation.matching import KINDS, found_columns, match, object_columns
from replication.formats import native_library, rle_kernels
from replication.formats.columns import GroundTruth, from_xywh
from replication.formats.detections import read_result_list
from replication.formats.native import CHOICE, native
from replication.formats.scanned import END, SCAN, scanned_detections, scanned_truth
from replication.formats.truth import read_ground_truth

LIBRARY = native()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there is no C compiler here")
ROOT = Path(__file__).resolve().parents[2]
MANY = settings(max_examples=60, deadline=None)
EXACT_CHOICES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def both(kernel, function, arguments, filled):
    """Runs the library and numba on outputs of their own; ``filled`` makes them. All bytes must agree."""
    outputs = []
    for run in (lambda *values: kernel.native(LIBRARY, *values), function):
        made = filled()
        run(*arguments, *made)
        outputs.append([array.copy() for one in made for array in (one if isinstance(one, tuple) else (one,))])
    for ours, theirs in zip(*outputs, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


def scene(seed: int, images: int, classes: int):
    """Objects and detections on whole pixels, so that overlaps and scores are often equal; some boxes are empty."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner, size = rng.integers(0, 6, (count, 2)), rng.integers(0, 5, (count, 2))
        return np.column_stack([corner, corner + size]).astype(float), (size[:, 0] * size[:, 1]).astype(float)

    m, n = int(rng.integers(0, 30)), int(rng.integers(0, 90))
    gt_boxes, gt_areas = boxes(m)
    dt_boxes, dt_areas = boxes(n)
    crowd = rng.random(m) < 0.2
    objects = kernels.Objects(
        rng.integers(0, images, m), gt_boxes, gt_areas, gt_areas, crowd, crowd | (rng.random(m) < 0.2)
    )
    found = kernels.Found(rng.integers(0, images, n), rng.choice(EXACT_CHOICES, n), dt_boxes, dt_areas, dt_areas)
    return rng, objects, found, rng.integers(0, classes, m), rng.integers(0, classes, n)


@MANY
@given(seed=st.integers(0, 2**32), images=st.integers(1, 4), classes=st.integers(1, 3))
def test_the_order_of_detections(seed, images, classes):
    _, _, found, _, label = scene(seed, images, classes)
    n = len(label)
    both(
        kernels.ORDER,
        match_kernels.by_class_and_image,
        (label, found.image, classes, images),
        lambda: (np.empty(n, np.int64), np.empty(classes + 1, np.int64)),
    )
    order, starts = kernels.by_class_and_image(label, found.image, classes, images)
    both(
        kernels.KEPT,
        match_kernels.kept_per_class,
        (order, starts, found.image, 3),
        lambda: (np.empty(classes + 1, np.int64),),
    )


@MANY
@given(
    seed=st.integers(0, 2**32),
    images=st.integers(1, 4),
    kind=st.integers(0, 4),
    voc=st.booleans(),
    limit=st.sampled_from([1, 3, 100, 2**31 - 1]),
    thresholds=st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0]), min_size=1, max_size=16),
)
def test_the_matching(seed, images, kind, voc, limit, thresholds):
    """Ties of scores and of overlaps, crowds, ignored objects, empty boxes, every kind of overlap and both rules."""
    rng, objects, found, _, _ = scene(seed, images, 1)
    order = np.argsort(found.image, kind="stable")
    gt_order = np.argsort(objects.image, kind="stable")
    kept = int(kernels.kept_per_class(order, np.array([0, len(order)]), found.image, limit)[1])
    ranges = np.array([(0.0, 1e10), (0.0, 4.0), (4.0, 9.0)])
    rule = kernels.Rule(kind, voc, limit, np.array(thresholds), ranges)
    overlaps = rng.choice(EXACT_CHOICES, len(order) * len(gt_order))
    both(
        kernels.match_class,
        match_kernels.match_class,
        (rule, order, found, gt_order, objects, overlaps),
        lambda: (
            kernels.Result(
                *(np.empty(kept, np.int32) for _ in range(4)), *(np.empty((3, kept), np.uint16) for _ in range(2))
            ),
        ),
    )


@MANY
@given(
    seed=st.integers(0, 2**32),
    images=st.integers(1, 4),
    kind=st.sampled_from(sorted(set(KINDS.values()))),
    foreground=st.sampled_from([0.05, 0.25, 0.5]),
)
def test_the_mistakes(seed, images, kind, foreground):
    rng, objects, found, gt_label, label = scene(seed, images, 3)
    rows = rng.permutation(len(label))[: int(rng.integers(0, len(label) + 1))].astype(np.int32)
    by_image = np.argsort(objects.image, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(objects.image, minlength=images))])
    both(
        kernels.mistaken,
        match_kernels.mistaken,
        (kind, foreground, 0.1, rows, rng.random(len(rows)) < 0.8, label, found, by_image, starts, gt_label, objects),
        lambda: (np.empty(len(rows), np.uint8), np.empty(len(rows), np.int64)),
    )


@pytest.fixture(scope="module")
def matches():
    truth = population(3, 60, 4)
    return match(truth, detector(truth, 5, skill=0.8, confused=0.1))


@pytest.mark.parametrize("limit", [3, 2**31 - 1])
@pytest.mark.parametrize("intervals", [0.0, 10.0, 100.0])
def test_average_precision(matches, intervals, limit):
    from replication.evaluation.bootstrap import Grid, image_weights

    grid = Grid(intervals)
    weights = np.ascontiguousarray(image_weights(kernels.LANES, len(matches.image_ids), 7).T)
    for c in range(len(matches.class_ids)):
        for a in range(4):
            own = slice(matches.starts[c], matches.starts[c + 1])
            parts = matches.image[own], matches.rank[own], matches.true[a, own], matches.ignored[a, own]
            size = len(parts[0])
            both(
                kernels.PROGRAM,
                sweep_kernels.program,
                (*parts, limit, 1023),
                lambda size=size: (
                    np.zeros(size, np.int32),
                    np.zeros((size, 3), np.int32),
                    np.zeros(size, np.int64),
                    np.empty(2, np.int64),
                ),
            )
            program = kernels.program(*parts, limit, 1023)
            truth = slice(matches.truth_starts[c], matches.truth_starts[c + 1])
            arguments = (*program, matches.truth_image[truth], 10, intervals, grid.probe)
            both(
                kernels.sweep,
                sweep_kernels.sweep,
                (weights, *arguments),
                lambda: (np.empty((10, kernels.LANES)),),
            )
            many, one = np.empty((10, kernels.LANES)), np.empty((10, 1))
            kernels.sweep.native(LIBRARY, weights, *arguments, many)
            kernels.sweep.native(LIBRARY, np.ascontiguousarray(weights[:, :1]), *arguments, one)
            assert one[:, 0].tobytes() == many[:, 0].tobytes()


@pytest.mark.parametrize("limit", [3, 2**31 - 1])
@pytest.mark.parametrize("intervals", [0.0, 100.0])
def test_all_classes_at_once(matches, intervals, limit):
    from replication.evaluation.bootstrap import Grid

    images, classes = len(matches.image_ids), len(matches.class_ids)
    weights = np.random.default_rng(1).integers(0, 3, (images, 1)).astype(np.uint8)
    truth = matches.truth_starts, matches.truth_image
    for a in range(4):
        found = kernels.Ranked(matches.starts, matches.image, matches.rank, matches.true[a], matches.ignored[a])
        both(
            kernels.averages,
            sweep_kernels.averages,
            (found, limit, *truth, weights, intervals, Grid(intervals).probe),
            lambda: (np.empty((10, classes)),),
        )
        both(
            kernels.HITS,
            sweep_kernels.hits,
            (matches.starts, matches.rank, matches.true[a], limit),
            lambda: (np.empty((10, classes), np.int64),),
        )


@MANY
@given(seed=st.integers(0, 2**63 - 1), first=st.integers(0, 2**31), units=st.integers(1, 40))
def test_drawn_images(seed, first, units):
    both(kernels.draw, sweep_kernels.draw, (seed, first, units), lambda: (np.zeros((units, 5), np.uint8),))


@MANY
@given(seed=st.integers(0, 2**32), size=st.integers(0, 40), objects=st.integers(1, 20))
def test_curves(seed, size, objects):
    rng = np.random.default_rng(seed)
    flags = rng.random(size) < 0.5, rng.random(size) < 0.2
    points = np.linspace(0, 1, 11)
    both(
        kernels.CURVE,
        curve_kernels.curve,
        (np.sort(rng.random(size))[::-1].copy(), *flags, objects, points),
        lambda: (np.empty(11), np.empty(11), np.empty(1)),
    )


@MANY
@given(codes=st.lists(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12), max_size=8))
def test_run_length_codes(codes):
    text = np.frombuffer("".join(codes).encode(), np.uint8)
    ends = np.cumsum([0, *map(len, codes)])
    both(rle_kernels.PIXELS, rle_kernels._by_numba(), (text, ends), lambda: (np.empty(len(codes), np.int64),))


# --- the scanner of results

TRUTH = GroundTruth(
    image_ids=np.arange(-3, 60),
    sizes=np.full((63, 2), np.nan),
    class_ids=np.arange(1, 9),
    class_names=tuple("abcdefgh"),
    images=np.zeros(1, np.int64),
    labels=np.zeros(1, np.int64),
    boxes=np.array([[0.0, 0.0, 9.0, 9.0]]),
    box_areas=np.array([81.0]),
    areas=np.array([81.0]),
    crowds=np.zeros(1, np.bool_),
    ignored=np.zeros(1, np.bool_),
    difficult=np.zeros(1, np.bool_),
)
NUMBERS = st.one_of(
    st.floats(0, 1e4).map(repr),
    st.floats(0, 1, width=32).map(repr),
    st.floats(0, allow_infinity=False, allow_nan=False).map(repr),
    st.integers(0, 10**20).map(str),
    st.builds("{}.{}e{}".format, st.integers(0, 10**6), st.integers(0, 10**18), st.integers(-30, 20)),
    st.sampled_from(["-0.0", "-0", "1E5", "0.30000000000000004", "9007199254740993", "5e-324", "1e400", "2.5e-20"]),
)
ODD = st.sampled_from(["01", "1.", ".5", "+1", "NaN", "null", '"1"', "[1]", "1e", "--1", "", "true"])


def record(numbers, image="1", label="2", extra=""):
    score, *box = numbers
    return f'{{"image_id": {image}, "category_id": {label}, "bbox": [{", ".join(box)}], "score": {score}{extra}}}'


def scan(text: bytes):
    state, columns = np.zeros(2, np.int64), (np.empty(9, np.int64), np.empty(9, np.int64), np.empty(9))
    boxes, areas = np.empty((9, 4)), np.empty(9)
    SCAN.native(LIBRARY, np.frombuffer(text, np.uint8), state, *columns, boxes, areas)
    return state[1], [column[: state[0]] for column in (*columns, boxes, areas)]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=5, max_size=5), min_size=1, max_size=8))
def test_scanned_numbers_are_the_nearest_ones(lists):
    end, (image, label, score, boxes, areas) = scan(f"[{', '.join(map(record, lists))}]".encode())
    expected = np.array([[float(number) for number in numbers] for numbers in lists])
    with np.errstate(over="ignore", invalid="ignore"):
        corners, sizes = from_xywh(expected[:, 1:])
    if end != END:  # what is refused is read by the JSON library; these alone may be
        assert any(number == "-0" for numbers in lists for number in numbers) or not (
            np.isfinite(expected).all() and np.isfinite(corners).all() and np.isfinite(sizes).all()
        )
        return
    assert image.tolist() == [1] * len(lists)
    assert label.tolist() == [2] * len(lists)
    assert (
        np.column_stack([score, boxes, areas]).tobytes() == np.column_stack([expected[:, 0], corners, sizes]).tobytes()
    )


def test_what_does_not_fit_the_columns_is_not_scanned():
    """Columns are made for the shortest records that there are."""
    shortest = '{"image_id":1,"category_id":2,"score":0,"bbox":[0,0,0,0]}'
    assert scan(f"[{','.join([shortest] * 9)}]".encode())[0] == END
    assert scan(f"[{','.join([shortest] * 10)}]".encode())[0] != END


def read(path: Path, monkeypatch, choice: str):
    monkeypatch.setenv(CHOICE, choice)
    try:
        found = read_result_list(path, TRUTH)
    except Exception as error:
        return type(error), str(error)
    return found.content_hash, found.notes


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_text_is_read_as_without_the_scanner(tmp_path_factory, data):
    """Records with parts missing, twice, of other types, cut off or followed by more: same columns or same message."""
    value = st.one_of(NUMBERS, NUMBERS, NUMBERS, ODD)
    keys = ['"image_id"', '"category_id"', '"score"', '"bbox"', '"area"', '"segmentation"', '"sc\\u006fre"', '"é"']
    parts = []
    for _ in range(data.draw(st.integers(0, 3))):
        text = record(data.draw(st.lists(NUMBERS, min_size=5, max_size=5)))
        change = data.draw(st.sampled_from(["none", "none", "extra", "replace", "cut", "insert"]))
        if change == "extra":
            key = data.draw(st.sampled_from(keys))
            text = text[:-1] + f", {key}: {data.draw(value)}}}"
        elif change == "replace":
            key = data.draw(st.sampled_from(keys[:3]))
            start = text.index(key) + len(key) + 2
            end = min(place for place in (text.find(",", start), text.find("}", start)) if place > 0)
            text = text[:start] + data.draw(value) + text[end:]
        elif change == "cut":
            text = text[: data.draw(st.integers(0, len(text)))]
        elif change == "insert":
            place = data.draw(st.integers(0, len(text)))
            more = data.draw(st.sampled_from([" ", "\n", ",", "}", "\x00", '"', "[", "é"]))
            text = text[:place] + more + text[place:]
        parts.append(text)
    path = tmp_path_factory.mktemp("scan") / "found.json"
    path.write_text(f"[{','.join(parts)}]" + data.draw(st.sampled_from(["", "\n", " ", ",", "x", "[]"])))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert read(path, monkeypatch, "") == read(path, monkeypatch, "numba")


def test_the_shortest_records_and_many(tmp_path, monkeypatch):
    """As many as the columns are made for, and thousands: scanned, as without the scanner."""
    shortest = {"image_id": 1, "category_id": 2, "score": 0, "bbox": [0, 0, 0, 0]}
    many = [
        {"image_id": i % 50, "category_id": 1 + i % 8, "bbox": [i / 7, 1 / (i + 1), 3, 4], "score": 1 / (i + 2)}
        for i in range(5000)
    ]
    path = tmp_path / "found.json"
    for records in ([], [shortest], [shortest] * 500, many):
        path.write_bytes(msgspec.json.encode(records))
        monkeypatch.setenv(CHOICE, "")
        found = scanned_detections(path, TRUTH)
        assert found is not None
        assert len(found) == len(records)
        assert read(path, monkeypatch, "") == read(path, monkeypatch, "numba")


# --- the scanner of ground truth

IMAGES = [
    '{"id": 7, "width": 20, "height": 30, "file_name": "a/7.jpg"}',
    '{"height":-1,"id":3}',
    '{"id": 5, "width": 8}',
]
CATEGORIES = ['{"supercategory": "x", "id": 4, "name": "b"}', '{"id": 2, "name": "a c"}']
EXTRA = st.sampled_from(
    [
        "",
        "",
        ', "area": 3.5',
        ', "area": null',
        ', "iscrowd": 1',
        ', "iscrowd": true',
        ', "ignore": 1',
        ', "difficult": 1',
    ]
    + [f', "segmentation": {mask}' for mask in ("[]", "[ ]", "null", "{}", '""', "[[1, 2,3.5]]", '{"counts": [1 ,2]}')]
    + [', "keypoints": [0, 1, {"a": [true, "x"]}]', ', "area": 3', ', "iscrowd": 0.0', ', "iscrowd": 2', ', "area": -1']
    + [
        ', "iscrowd": "1"',
        ', "ignore": null',
        ', "area": "3"',
        ', "x": "\\u00e9"',
        ', "x": é"',
        ', "x": "é"',
        ', "y": -0',
    ]
)
IDENTIFIERS = st.sampled_from(["1", "2", "3", "4", "5", "7", "7", "4", "2", "7.0", "-0", '"7"', "null", "true"])


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_ground_truth_is_read_as_without_the_scanner(tmp_path_factory, data):
    """Ids twice, unknown or of other types, flags, masks and areas in every form, keys missing or more, and garbage."""
    some = data.draw(st.booleans())
    objects = []
    for i in range(data.draw(st.integers(0, 4))):
        key, image, category = (
            data.draw(IDENTIFIERS) if some and data.draw(st.integers(0, 9)) == 0 else usual
            for usual in (str(i + 1), data.draw(st.sampled_from("357")), data.draw(st.sampled_from("24")))
        )
        numbers = NUMBERS if some else st.sampled_from(["1", "2.5", "0", "1e1"])
        sides = ", ".join(data.draw(st.lists(numbers, min_size=4, max_size=4)))
        more = "".join(data.draw(st.lists(EXTRA, max_size=2)))
        objects.append(f'{{"id": {key}, "image_id":{image}, "category_id": {category} , "bbox": [{sides}]{more}}}')
    lists = {
        "images": data.draw(st.lists(st.sampled_from(IMAGES), min_size=some, max_size=3, unique=True)) or IMAGES,
        "categories": data.draw(st.permutations(CATEGORIES)),
        "annotations": objects,
        "info": ['"2017"', '{"a": null}'],
    }
    order = data.draw(st.permutations(sorted(lists)))
    text = "{" + ", ".join(f'"{name}": [{", ".join(lists[name])}]' for name in order) + "}\n"
    if data.draw(st.integers(0, 3)) == 0:
        place = data.draw(st.integers(0, len(text) - 1))
        text = (
            text[:place]
            + data.draw(st.sampled_from(["", " ", "}", '"', "[", "1", ",", "é", "\x00"]))
            + text[place + 1 :]
        )
    path = tmp_path_factory.mktemp("truth") / "truth.json"
    path.write_text(text)
    outcomes = []
    for choice in ("", "numba"):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv(CHOICE, choice)
            try:
                truth = read_ground_truth(path)
                outcomes.append((truth.content_hash, truth.notes, [type(getattr(truth, one)) for one in vars(truth)]))
            except Exception as error:
                outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_ground_truth_as_data_sets_are_published_is_scanned(tmp_path):
    """As COCO's own files are: information and licences first, polygons, crowds as uncompressed run lengths."""
    document = {
        "info": {"description": "COCO 2017 Dataset", "url": "http://cocodataset.org", "year": 2017},
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": [
            {
                "license": 4,
                "file_name": f"{i:012}.jpg",
                "coco_url": "http://x/y.jpg",
                "height": 427,
                "width": 640,
                "id": i,
            }
            for i in (397133, 37777)
        ],
        "annotations": [
            {
                "segmentation": [[510.66, 423.01, 511.72, 420.03]]
                if not crowd
                else {"counts": [272, 2], "size": [427, 640]},
                "area": 702.1057499999998,
                "iscrowd": crowd,
                "image_id": 37777,
                "bbox": [473.07, 395.93, 38.65, 28.67],
                "category_id": 18,
                "id": 1768 + crowd,
            }
            for crowd in (0, 1)
        ],
        "categories": [{"supercategory": "animal", "id": 18, "name": "dog"}],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    truth = scanned_truth(path)
    assert truth is not None
    assert truth.image_names == ("000000037777.jpg", "000000397133.jpg")
    assert truth.masks is not None
    assert [json.loads(mask) for mask in truth.masks] == [one["segmentation"] for one in document["annotations"]]


# --- the library as a file


def test_another_source_is_another_library(monkeypatch, tmp_path):
    for path in native_library.SOURCES.glob("*.[ch]"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = native_library.name()
    monkeypatch.setattr(native_library, "SOURCES", tmp_path)
    assert native_library.name() == before
    outdated = tmp_path / before
    outdated.touch()
    (tmp_path / "match.c").write_text("int nothing;\n")
    assert native_library.name() != before
    assert native_library.build(tmp_path) == tmp_path / native_library.name()
    assert not outdated.exists()


def test_folders_that_cannot_be_written_are_passed_over(monkeypatch, tmp_path):
    for path in native_library.SOURCES.glob("*.[ch]"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(native_library, "SOURCES", tmp_path)
    real = native_library.build
    monkeypatch.setattr(native_library, "build", lambda folder: None if folder == tmp_path else real(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert native_library.library() == tmp_path / "cache" / "detection-replication" / native_library.name()


def test_a_broken_compiler_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "false")
    assert native_library.build(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_without_a_library_numba_computes_the_same_and_is_announced(tmp_path):
    """In a process of its own, where no compiler and no library is found."""
    document = {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "digit"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40]}],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 36], "score": 0.9}]
    (tmp_path / "truth.json").write_text(json.dumps(document))
    (tmp_path / "found.json").write_text(json.dumps(found))
    program = (
        "import sys; from replication.formats import native_library, native; native.library = lambda: None\n"
        "import replication; print(replication.evaluate('truth.json', 'found.json')['AP'], 'numba' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    value, loaded = done.stdout.split()
    assert (round(float(value), 6), loaded) == (90.0, "True")
    assert done.stderr.startswith("note: there is no C compiler here")


def test_with_the_library_numba_is_never_loaded(tmp_path):
    program = (
        "import sys, numpy as np; from support.simulation import detector, population\n"
        "from replication.evaluation import bootstrap, point; from replication.evaluation.matching import match\n"
        "truth = population(1, 20, 3); matches = match(truth, detector(truth, 1))\n"
        "bootstrap(matches, 10); point(matches)\n"
        "sys.exit(any(name in sys.modules for name in ('numba', 'pydantic', 'PIL')))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def test_arrays_that_do_not_fit_are_refused_or_copied():
    with pytest.raises(ValueError, match="no int64 array"):
        kernels.KEPT(np.zeros(1, np.int64), np.array([0, 1]), np.zeros(1, np.int64), 1, np.empty(2, np.int32))
    wide = np.arange(8)[::2]  # with gaps, and of a narrower type
    expected = kernels.by_class_and_image(wide.copy(), wide.copy(), 7, 7)
    found = kernels.by_class_and_image(wide.astype(np.int32), wide, 7, 7)
    assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))


def test_columns_of_a_run_are_taken_as_they_are():
    """No copy a call: the columns of the readers are of the kernels' types."""
    truth = population(2, 10, 3)
    found = detector(truth, 1)
    arguments = kernels.match_class.arguments
    flat = [*found_columns(found, found.box_areas), *object_columns(truth)]
    expected = [*arguments[6:11], *arguments[12:18]]
    assert all(one.array(value) is value for one, value in zip(expected, flat, strict=True))
