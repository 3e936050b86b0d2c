"""Timing samples and parameters as files, and the figures that they show."""

import json
import statistics
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubpkg import performance
from hubpkg.errors import HubpkgError
from hubpkg.performance import InferenceTiming, Parameter, TrainingTiming

TRAINING = TrainingTiming(8, 128, 224, "O2", 329.12345, 2, [233.0, 234.0, 230.0, 240.0])
INFERENCE = InferenceTiming([float(n) for n in range(100, 0, -1)], 64, [20.0, 10.0, 40.0])
PARAMETERS = [
    Parameter("a.weight", (24, 3, 3, 3), "Float32", trainable=True),
    Parameter("a.moving_mean", (24,), "Float32", trainable=False),
    Parameter("scale", (), "Float32", trainable=True),
    Parameter("head", (1000, 192), "Float32", trainable=True),
]


def test_the_figures():
    assert performance.measure(TRAINING, INFERENCE, PARAMETERS).as_json() == {
        "parameters_m": 0.1926,  # 24 * 3 * 3 * 3 + 1 + 1000 * 192 = 192,649
        "devices": 8,
        "batch_size": 128,
        "image_size": 224,
        "jit_level": "O2",
        "compile_seconds": 329.123,
        "steps": 4,
        "ms_per_step": 233.5,
        "images_per_second": 4385.439,  # 8 * 128 / 0.2335
        "latency_samples": 100,
        "latency_p50_ms": 50.0,
        "latency_p90_ms": 90.0,
        "latency_p99_ms": 99.0,
        "throughput_batch_size": 64,
        "throughput_batches": 3,
        "throughput": 3200.0,
    }


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=400), st.sampled_from([0, 1, 50, 90, 99, 100]))
def test_percentiles_are_of_the_nearest_rank(samples, percent):
    assert performance.percentile(samples, percent) == np.percentile(samples, percent, method="inverted_cdf")


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e6), min_size=1), st.lists(st.floats(1e-3, 1e6), min_size=1), st.integers(1, 999))
def test_timings_are_read_as_they_were_written(tmp_path_factory, first, second, batch_size):
    file = tmp_path_factory.getbasetemp() / "timing.json"
    written = TrainingTiming(1, batch_size, 32, "O0", 0.5, 0, first), InferenceTiming(second, batch_size, first)
    performance.write_timing(file, *written)
    assert performance.read_timing(file) == written
    figures = performance.measure(*written, PARAMETERS)
    assert figures.ms_per_step == pytest.approx(statistics.median(first), abs=5.1e-4)
    assert figures == performance.measure(*performance.read_timing(file), PARAMETERS)


def timing(**changes):
    """The text of a timing file, some of its values changed."""
    data = {"training": asdict(TRAINING), "inference": asdict(INFERENCE)}
    for path, value in changes.items():
        section, key = path.split("__")
        data[section][key] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "expected JSON, found: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "expected JSON, found: "),
        (b"\xff", "expected JSON, found: "),
        ("[]", "document: expected a mapping, found a list of 0"),
        ("{}", "training: expected this key, found it missing; inference: expected this key, found it missing"),
        (timing(training__steps=3), "training.steps: unknown key; the nearest: "),
        (timing(training__devices=0), "training.devices: expected at least 1, found 0"),
        (timing(training__devices=True), "training.devices: expected a whole number, found true"),
        (timing(training__devices=10**400), "training.devices: expected a whole number, found 1000"),
        (timing(training__jit_level="O9"), 'training.jit_level: expected one of O0, O1, O2, found "O9"'),
        (timing(training__compile_seconds=float("nan")), "training.compile_seconds: expected a number, found NaN"),
        (timing(inference__batch_ms=[]), "inference.batch_ms: expected a length of at least 1, found a list of 0"),
        (timing(inference__latency_ms=[1, 0]), "inference.latency_ms[1]: expected more than 0, found 0"),
        (timing(inference__latency_ms=[float("inf")]), "inference.latency_ms[0]: expected a number, found Infinity"),
    ],
)
def test_timings_of_another_form_are_refused_with_their_key(tmp_path, text, error):
    file = tmp_path / "timing.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HubpkgError) as caught:
        performance.read_timing(file)
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
