"""A model's own datasets and metrics: what its extension defines, and what goes wrong with it."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from hubpkg.errors import HubpkgError
from hubpkg.predictions import Output, Prediction
from hubpkg.runtime import datasets, extensions
from hubpkg.runtime.datasets import Source, from_array, from_rows

ROOT = Path(__file__).parents[1]
HEAD = "from hubpkg.extension import Metric, Source, from_array, from_rows\n"
ROWS = {"dataset": "rows", "input_shape": [3], "num_classes": 2}
TOKENS = ROWS | {"input_dtype": "int32", "vocab_size": 9}
NUMBERS = {"dataset": "rows", "input_shape": [3], "task": "regression", "num_outputs": 1}
PIXELS = {"dataset": "rows", "image_size": 4, "in_channels": 1, "num_classes": 2}


def load(source):
    return extensions.load(Path("models/tiny"), {"tiny_data.py": (HEAD + source).encode()}, "tiny_data.py")


def error_of(function, *arguments, **options):
    with pytest.raises(HubpkgError) as caught:
        function(*arguments, **options)
    (line,) = str(caught.value).splitlines()
    return line


def test_an_extension_defines_datasets_and_metrics_and_imports_its_siblings():
    sources = {
        "tiny_data.py": f"{HEAD}from tiny_names import NAME\nMETRICS = {{NAME: Metric(len)}}".encode(),
        "tiny_names.py": b"NAME = 'MAE'",
    }
    found = extensions.load(Path("models/tiny"), sources, "tiny_data.py")
    assert list(found.metrics) == ["MAE"]
    assert not found.datasets


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 / 0", "models/tiny/tiny_data.py: expected to run it, found ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "models/tiny/tiny_data.py: expected to run it, found SystemExit: 3"),
        ("def f(:", "models/tiny/tiny_data.py: expected to run it, found SyntaxError: "),
        ("import nowhere", "expected to run it, found ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1", "expected it to define DATASETS or METRICS, found neither"),
        ("METRICS = [len]", "METRICS: expected a dict of Metric by name, found [<built-in function len>]"),
        ("METRICS = {'MAE': len}", "METRICS: expected a dict of Metric by name, found {'MAE': <built-in"),
        ("DATASETS = {1: Source(title='', preparation='', read=len)}", "DATASETS: expected a dict of Source by name"),
        (
            "DATASETS = {'mnist': Source(title='', preparation='', read=len)}",
            "DATASETS: expected names that hubpkg has no datasets of, found mnist",
        ),
        ("METRICS = {'top1': Metric(len)}", "METRICS: expected functions by names such as F1score"),
        ("METRICS = {'f1': Metric(len)}", "which begin and end with no digit"),
        ("METRICS = {'a b': Metric(len)}", "found 'a b'"),
        ("METRICS = {'a|b': Metric(len)}", "found 'a|b'"),
        ("METRICS = {'MAE': Metric(3)}", "expected functions by names"),
        ("METRICS = {'MAE': Metric(len, unit='a|b')}", "MAE: expected a unit that is text on one line, found 'a|b'"),
    ],
)
def test_an_extension_that_can_not_be_used_is_refused_in_one_line(source, expected):
    assert expected in error_of(load, source)


def test_a_file_that_is_not_there_is_named():
    found = error_of(extensions.load, Path("models/tiny"), {}, "tiny_data.py")
    assert found == "models/tiny/tiny_data.py: expected the extension that model.yaml names, found no such file"


def test_an_unknown_dataset_names_those_that_the_extension_has():
    own = load("DATASETS = {'rows': Source(title='', preparation='', read=len)}").datasets
    assert datasets.find("rows", own) is own["rows"]
    assert "fashion-mnist, imagefolder, rows), found 'row'" in error_of(datasets.find, "row", own)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return open('nowhere')", "rows, test: expected its samples, found FileNotFoundError: "),
        ("raise SystemExit(0)", "rows, test: expected its samples, found SystemExit: 0"),
        ("return 3", "rows, test: expected what from_rows, from_array or from_files give, found int"),
        (
            "return from_rows([[1.0]], [0, 1], '')",
            "from_rows: expected a label or a row of targets for each of 1 inputs",
        ),
        ("return from_rows([['a']], [0], '')", "from_rows: expected inputs that are an array of numbers, found <U1"),
        ("return from_rows([[1.0], [2]], [0, 1], '', ['a', 'a'])", "expected 2 names, each once, found 1 different"),
    ],
)
def test_a_dataset_that_can_not_be_read_is_told_in_one_line(tmp_path, monkeypatch, body, expected):
    monkeypatch.chdir(tmp_path)
    own = load(
        f"def read(split, data_dir):\n    {body}\nDATASETS = {{'rows': Source(title='', preparation='', read=read)}}"
    )
    found = error_of(datasets.load, ROWS, "test", None, skip_damaged=False, source=own.datasets["rows"])
    assert found.startswith("models/tiny/tiny_data.py: rows, test: ")
    assert expected in found


def test_a_dataset_that_has_files_needs_their_folder():
    own = load("DATASETS = {'rows': Source(title='', preparation='', argument=' --data-dir DIR', read=len)}").datasets
    found = error_of(datasets.load, ROWS, "test", None, skip_damaged=False, source=own["rows"])
    assert found == "models/tiny/tiny_data.py: rows: expected --data-dir, the folder with its files, found none given"


def split_of(recipe, images):
    source = Source(title="", preparation="", read=lambda *_: images)
    return datasets.load(recipe, "test", None, skip_damaged=False, source=source)


@pytest.mark.parametrize(
    ("recipe", "inputs", "labels", "expected"),
    [
        (
            ROWS,
            np.zeros((2, 4)),
            [0, 1],
            "expected inputs of float32 and shape (3,), as the recipe says, found float32 of",
        ),
        (
            ROWS,
            np.zeros((2, 3), int),
            [0, 1],
            "expected inputs of float32 and shape (3,), as the recipe says, found int32",
        ),
        (ROWS, np.full((2, 3), np.nan), [0, 1], "rows, test: 0: expected finite numbers, found others"),
        (ROWS, np.zeros((2, 3)), [0, 2], "rows, test: 1: expected a label from 0 to 1, as num_classes says, found 2"),
        (ROWS, np.zeros((2, 3)), [-1, 1], "rows, test: 0: expected a label from 0 to 1"),
        (ROWS, np.zeros((2, 3)), [0.0, 1.0], "expected a label from 0 to 1, as num_classes says, found (0.0,)"),
        (ROWS, np.zeros((0, 3)), np.zeros(0, int), "expected at least one sample, found none"),
        (TOKENS, np.array([[0, 8, 1], [9, 0, 0]]), [0, 1], "rows, test: 1: expected numbers from 0 to 8, found others"),
        (NUMBERS, np.zeros((2, 3)), [1.0, np.inf], "rows, test: 1: expected a target of 1 finite numbers"),
        (NUMBERS, np.zeros((2, 3)), [[1.0, 2.0]] * 2, "expected a target of 1 finite numbers, as num_outputs says"),
        (PIXELS, np.zeros((2, 3)), [0, 1], "expected images of uint8 and shape (height, width, 1), found float32 of"),
    ],
)
def test_samples_that_do_not_fit_the_recipe_are_refused_in_one_line(recipe, inputs, labels, expected):
    assert expected in error_of(split_of, recipe, from_rows(inputs, labels, ""))


def test_images_for_a_recipe_of_rows_are_refused():
    images = from_array(np.zeros((1, 4, 4, 1), np.uint8), [0], ["a"], "")
    assert "expected inputs of float32 and shape (3,), as the recipe says, found uint8" in error_of(
        split_of, ROWS, images
    )
    rows = Source(title="", preparation="", read=lambda *_: images)
    assert "input_shape: expected this key" in error_of(datasets.check_recipe, PIXELS, rows)


def test_rows_are_given_in_their_order_with_what_a_loss_takes(monkeypatch, tmp_path):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))
    inputs = np.arange(15).reshape(5, 3)
    split = split_of(TOKENS | {"vocab_size": 15}, from_rows(inputs, [0, 1, 0, 1, 1], "", list("abcde")))
    batches = list(datasets.batches(split.images, TOKENS, 2))
    assert [batch.dtype for batch, _ in batches] == [np.int32] * 3
    np.testing.assert_array_equal(np.concatenate([batch for batch, _ in batches]), inputs)
    assert np.concatenate([labels for _, labels in batches]).tolist() == [0, 1, 0, 1, 1]
    split = split_of(NUMBERS, from_rows(inputs.astype(float), [0, 1, 2, 3, 4], ""))  # whole numbers are targets, too
    ((batch, targets),) = datasets.batches(split.images, NUMBERS, 8)
    assert (batch.dtype, targets.dtype, targets.tolist()) == (np.float32, np.float32, [[0], [1], [2], [3], [4]])


RANKED = [
    Prediction("a", 1, (1, 0), (2.0, 1.0)),
    Prediction("b", 0, (1, 0), (0.5, 0.25)),
    Prediction("c", 0, (0, 1), (3.0, 1.0)),
]
OUTPUTS = [Output("a", (1.0,), (1.5,)), Output("b", (2.0,), (2.0,)), Output("c", (4.0,), (3.0,))]


def measure(metric, predictions, recipe):
    (entry,) = extensions.Extension("x.py", {}, {"it": metric}).measure(predictions, recipe).values()
    return entry


def test_metrics_get_labels_and_logits_or_targets_and_outputs():
    seen = []
    metric = extensions.Metric(lambda labels, outputs: seen.append((labels.tolist(), outputs.tolist())) or 1.0)
    measure(metric, RANKED, ROWS)
    assert seen[0] == ([1, 0, 0], [[1.0, 2.0], [0.25, 0.5], [3.0, 1.0]])
    six = [Prediction("a", 5, (5, 4, 3, 2, 1), (5.0, 4.0, 3.0, 2.0, 1.0), 0.5)]
    measure(metric, six, ROWS | {"num_classes": 6})
    assert ([5], [[-math.inf, 1.0, 2.0, 3.0, 4.0, 5.0]]) in seen
    measure(metric, OUTPUTS, NUMBERS)
    assert ([[1.0], [2.0], [4.0]], [[1.5], [2.0], [3.0]]) in seen


def test_a_metric_has_a_bootstrap_interval_that_is_the_same_each_time():
    draw = np.random.default_rng(3)
    many = [Output(str(i), (0.0,), (float(value),)) for i, value in enumerate(draw.standard_normal(400))]
    metric = extensions.Metric(lambda labels, outputs: float((outputs - labels).mean()), "mm", higher_is_better=False)
    found = measure(metric, many, NUMBERS)
    assert found == measure(metric, many, NUMBERS)
    assert (found["unit"], found["higher_is_better"]) == ("mm", False)
    values = np.array([record.outputs for record in many])
    half = 1.96 * values.std() / 20  # of the normal approximation, which a mean of 400 is near to
    assert found["value"] == pytest.approx(values.mean(), rel=1e-5)
    assert (found["low"], found["high"]) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_a_metric_that_some_resample_has_no_value_of_has_no_interval(monkeypatch):
    both = extensions.Metric(lambda labels, _: 1.0 if len(set(labels.tolist())) > 1 else math.nan)
    assert measure(both, RANKED, ROWS).keys() == {"value", "unit", "higher_is_better"}
    monkeypatch.setattr(extensions, "_LARGEST", 1)  # nor has one of too many values
    assert "low" not in measure(extensions.Metric(lambda *_: 1.0), RANKED, ROWS)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (extensions.Metric(lambda *_: math.nan), "x.py: it: expected a finite number, found nan"),
        (extensions.Metric(lambda *_: np.float64("inf")), "x.py: it: expected a finite number, found inf"),
        (extensions.Metric(lambda *_: None), "x.py: it: expected a number, found NoneType"),
        (extensions.Metric(lambda *_: True), "x.py: it: expected a number, found bool"),
        (extensions.Metric(lambda *_: np.zeros(2)), "x.py: it: expected a number, found ndarray"),
        (extensions.Metric(lambda *_: sys.exit(0)), "x.py: it: expected a number, found SystemExit: 0"),
        (extensions.Metric(lambda labels, _: labels[9]), "x.py: it: expected a number, found IndexError: "),
        (extensions.Metric(lambda labels, _: labels.sort()), "x.py: it: expected a number, found ValueError: "),
        (
            extensions.Metric(lambda *_: 100.5, unit="%"),
            "expected a number from 0 to 100, as its unit is %, found 100.5",
        ),
    ],
)
def test_a_metric_that_gives_no_number_is_refused_in_one_line(metric, expected):
    assert expected in error_of(measure, metric, RANKED, ROWS)


@pytest.mark.parametrize(
    ("predictions", "recipe"), [(RANKED, NUMBERS), (OUTPUTS, ROWS), (RANKED, ROWS | {"num_classes": 1})]
)
def test_predictions_of_another_kind_are_refused(predictions, recipe):
    found = error_of(measure, extensions.Metric(lambda *_: 1.0), predictions, recipe)
    assert found.startswith("expected predictions of 1 classes or outputs") or "2 classes" in found


def test_metrics_are_compared_up_to_rounding():
    one = {"MAE": {"value": 1.0, "low": 0.5, "high": 2.0, "unit": "", "higher_is_better": False}}
    assert extensions.differences(one, {"MAE": {**one["MAE"], "value": 1.000001}}) == []
    assert extensions.differences(one, {"MAE": {**one["MAE"], "value": 1.001}}) == [
        "MAE: value: expected 1.001, found 1.0"
    ]
    assert extensions.differences({}, one) == ["MAE: expected this metric, which the extension has, found it missing"]
    assert extensions.differences(one, {}) == ["MAE: expected no such metric, as the extension has none"]
    without = {key: value for key, value in one["MAE"].items() if key not in {"low", "high"}}
    assert extensions.differences(one, {"MAE": without}) == [
        "MAE: high: expected none, found 2.0",
        "MAE: low: expected none, found 0.5",
    ]


def test_hubpkg_s_code_names_no_model_and_no_dataset_outside_the_registry():
    models = [folder.name.split("_")[0] for folder in (ROOT / "models").iterdir() if folder.is_dir()]
    names = re.compile(rf"\b({'|'.join([*models, *datasets.SOURCES])})\b")  # in code: comments may give an example
    registry = ROOT / "hubpkg" / "runtime" / "datasets"
    for file in sorted((ROOT / "hubpkg").rglob("*.py")):
        if registry in file.parents or (ROOT / "hubpkg" / "lint") in file.parents:
            continue
        code = re.sub(r'""".*?"""|#.*', "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not names.findall(code), file
