"""Timing samples and parameters as files, and the figures that they show."""

import json
import statistics
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubpkg import performance
from hubpkg.errors import HubpkgError
from hubpkg.performance import Conditions, Parameter, Timing, Timings

QUIET = Conditions(2, 1.9, 0.05, 0.4, 1.8, 0, 0)
TRAINING = Timing("mindspore", 8, 128, 224, "O2", "float16", 329.12345, 2, [233.0, 234.0, 230.0, 240.0], QUIET)
LATENCY = Timing("onnxruntime", 1, 1, 224, "O2", "float32", 1.0, 4, [float(n) for n in range(100, 90, -1)], QUIET)
BATCHES = replace(LATENCY, devices=2, batch_size=64, ms=[20.0, 20.5, 19.0])
TIMINGS = Timings(TRAINING, [LATENCY, BATCHES])
PARAMETERS = [
    Parameter("a.weight", (24, 3, 3, 3), "Float32", trainable=True),
    Parameter("a.moving_mean", (24,), "Float32", trainable=False),
    Parameter("scale", (), "Float32", trainable=True),
    Parameter("head", (1000, 192), "Float32", trainable=True),
]


def test_the_figures():
    assert performance.measure(TIMINGS, PARAMETERS).as_json() == {
        "parameters_m": 0.1926,  # 24 * 3 * 3 * 3 + 1 + 1000 * 192 = 192,649
        "devices": 8,
        "batch_size": 128,
        "image_size": 224,
        "jit_level": "O2",
        "precision": "float16",
        "compile_seconds": 329.123,
        "steps": 4,
        "ms_per_step": 233.5,
        "images_per_second": 4385.439,  # 8 * 128 / 0.2335
        "engine": "onnxruntime",
        "inference_precision": "float32",
        "latency_samples": 10,
        "latency_p50_ms": 95.0,
        "latency_p90_ms": 99.0,
        "latency_p99_ms": 100.0,
        "throughput": [
            {"batch_size": 1, "batches": 10, "images_per_second": 10.471},  # 1 / 0.0955
            {"batch_size": 64, "batches": 3, "images_per_second": 6400.0},  # 2 * 64 / 0.02
        ],
        "noise": [],
    }


@pytest.mark.parametrize(
    ("timings", "missing"),
    [
        (Timings(None, [LATENCY]), "training steps"),
        (Timings(TRAINING, [BATCHES]), "the inference of single images"),
        (Timings(TRAINING, []), "the inference of single images"),
    ],
)
def test_figures_need_training_and_single_images(timings, missing):
    with pytest.raises(HubpkgError, match=f"expected timing samples of {missing}, found none"):
        performance.measure(timings, PARAMETERS)


@pytest.mark.parametrize(
    ("changes", "noise"),
    [
        ({}, []),
        ({"load_before": 9.0, "load_after": 9.0}, []),  # it lags: others' use of CPUs is what counts
        ({"other_cpus": 0.2}, []),
        ({"other_cpus": 0.21}, ["other processes kept 0.21 of 2 CPUs busy"]),
        ({"other_cpus": 0.21, "cpus": 64}, []),
        ({"other_cpus": None, "load_after": 2.9}, []),
        ({"other_cpus": None, "load_after": 2.91}, ["the load average was 2.91, of which the run explains 1.90"]),
        ({"other_cpus": None, "load_after": None}, []),
        ({"throttled": None, "overheated": None}, []),
        ({"throttled": 3}, ["the process was throttled in 3 periods"]),
        ({"overheated": 2}, ["CPUs were slowed down by heat 2 times"]),
    ],
)
def test_conditions_that_make_a_measurement_noisy(changes, noise):
    assert list(replace(QUIET, **changes).noise()) == noise


@pytest.mark.parametrize(
    ("ms", "noise"), [([8.0] * 5 + [10.0] * 5, []), ([8.0] * 6 + [10.1] * 4, ["the 90th percentile is 1.26 medians"])]
)
def test_uneven_samples_make_a_measurement_noisy(ms, noise):
    assert list(replace(LATENCY, ms=ms).noise()) == noise


def test_noise_is_among_the_figures_with_what_it_disturbed():
    loud = replace(QUIET, other_cpus=1.5, throttled=1)
    timings = Timings(replace(TRAINING, conditions=loud), [LATENCY, replace(BATCHES, ms=[1.0, 1.0, 2.0])])
    assert performance.measure(timings, PARAMETERS).noise == [
        "training: other processes kept 1.50 of 2 CPUs busy, the process was throttled in 1 periods",
        "inference x64: the 90th percentile is 2.00 medians",
    ]


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=400), st.sampled_from([0, 1, 50, 90, 99, 100]))
def test_percentiles_are_of_the_nearest_rank(samples, percent):
    assert performance.percentile(samples, percent) == np.percentile(samples, percent, method="inverted_cdf")


@settings(deadline=None)
@given(st.floats(0.1, 3), st.floats(1e-3, 1e3), st.lists(st.integers(1, 10**6), min_size=2, max_size=9, unique=True))
def test_the_exponent_is_that_of_a_power(power, factor, sizes):
    costs = {size: factor * size**power for size in sizes}
    assert performance.exponent(costs) == pytest.approx(power, rel=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e6), min_size=1), st.lists(st.floats(1e-3, 1e6), min_size=1), st.integers(2, 999))
def test_timings_are_read_as_they_were_written(tmp_path_factory, first, second, batch_size):
    file = tmp_path_factory.getbasetemp() / "timing.json"
    inference = [replace(LATENCY, ms=second), replace(LATENCY, batch_size=batch_size, ms=first)]
    written = Timings(replace(TRAINING, ms=first), inference)
    performance.write_timings(file, written)
    assert performance.read_timings(file) == written
    figures = performance.measure(written, PARAMETERS)
    assert figures.ms_per_step == pytest.approx(statistics.median(first), abs=5.1e-4)
    assert figures == performance.measure(performance.read_timings(file), PARAMETERS)


def test_timings_without_training_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "timing.json"
    performance.write_timings(file, Timings(None, [LATENCY]))
    assert performance.read_timings(file) == Timings(None, [LATENCY])


def timing(**changes):
    """The text of a timing file, some of its values changed."""
    data = asdict(TIMINGS)
    for path, value in changes.items():
        section, *keys = path.split("__")
        holder = data[section][0] if section == "inference" else data[section]
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "expected JSON, found: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "expected JSON, found: "),
        (b"\xff", "expected JSON, found: "),
        ("[]", "document: expected a mapping, found a list of 0"),
        ("{}", "inference: expected this key, found it missing"),
        ('{"inference": [], "training": null}', "training: expected a mapping, found null"),
        (timing(training__step_ms=3), "training.step_ms: unknown key; expected one of "),
        (timing(training__devices=0), "training.devices: expected at least 1, found 0"),
        (timing(training__devices=True), "training.devices: expected a whole number, found true"),
        (timing(training__devices=10**400), "training.devices: expected a whole number, found 1000"),
        (timing(training__jit_level="O9"), 'training.jit_level: expected one of O0, O1, O2, found "O9"'),
        (timing(training__precision="int8"), "training.precision: expected one of float32, float16, bfloat16, found "),
        (timing(training__compile_seconds=float("nan")), "training.compile_seconds: expected a number, found NaN"),
        (timing(training__conditions__other_cpus="0"), "training.conditions.other_cpus: expected a number or null, "),
        (timing(training__conditions__cpus=None), "training.conditions.cpus: expected a whole number, found null"),
        (timing(training__conditions__more=1), "training.conditions.more: unknown key; "),
        (timing(inference__engine="torch"), "inference[0].engine: expected one of mindspore, onnxruntime, found "),
        (timing(inference__ms=[]), "inference[0].ms: expected a length of at least 1, found a list of 0"),
        (timing(inference__ms=[1, 0]), "inference[0].ms[1]: expected more than 0, found 0"),
        (timing(inference__ms=[float("inf")]), "inference[0].ms[0]: expected a number, found Infinity"),
    ],
)
def test_timings_of_another_form_are_refused_with_their_key(tmp_path, text, error):
    file = tmp_path / "timing.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HubpkgError) as caught:
        performance.read_timings(file)
    assert str(caught.value).startswith(f"{file}: {error}")


def test_parameters_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "parameters.csv"
    performance.write_parameters(file, PARAMETERS)
    assert performance.read_parameters(file) == PARAMETERS
    assert file.read_bytes().startswith(b"name,shape,dtype,trainable\na.weight,24x3x3x3,Float32,yes\n")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ":1: expected the header name,shape,dtype,trainable, found "),
        ("name,shape\n", ":1: expected the header name,shape,dtype,trainable, found name,shape"),
        ("a,2,Float32\n", ":2: expected a name, a shape such as 64x3x3x3, a dtype and yes or no, found 'a,2,Float32'"),
        ("a,2,Float32,yes,\n", ":2: "),
        ("a,2,Float32,true\n", ":2: "),
        ("a,2xx3,Float32,yes\n", ":2: "),
        ("a,2x,Float32,yes\n", ":2: "),
        ("a,-2,Float32,yes\n", ":2: "),
        ("a,0,Float32,yes\n", ":2: "),
        (f"a,{'x'.join(['1000000'] * 60)},Float32,yes\n", ":2: "),
        ("a,2,Float32,yes\n\n", ":3: "),
        ('"a,2,Float32,yes\n', ": expected CSV in UTF-8, found: "),
        (b"\xff,2,Float32,yes\n", ": expected CSV in UTF-8, found: "),
    ],
)
def test_parameters_of_another_form_are_refused_with_their_line(tmp_path, text, error):
    file = tmp_path / "parameters.csv"
    header = b"" if error.startswith(":1:") else b"name,shape,dtype,trainable\n"
    file.write_bytes(header + (text if isinstance(text, bytes) else text.encode()))
    with pytest.raises(HubpkgError) as caught:
        performance.read_parameters(file)
    assert str(caught.value).startswith(f"{file}{error}")
