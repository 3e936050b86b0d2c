"""``hubpkg benchmark``: what it prints and keeps, sweeps and their pictures, and what it refuses."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from conftest import SMALL

from hubpkg import benchmark, performance, spec
from hubpkg.benchmark import Setting
from hubpkg.errors import HubpkgError
from hubpkg.job import Job

STEM = f"{SMALL}_digits"
pytestmark = pytest.mark.usefixtures("mode")  # a benchmark sets graph mode


def lines(done):
    """What a command said, without progress."""
    return [line for line in done.stderr.splitlines() if not line.startswith("benchmark: ")]


def test_benchmark_prints_what_build_prints_of_performance_and_keeps_the_samples(here, small_package, tmp_path):
    done = here("benchmark", SMALL, "--batch-size", 4, "--image-size", 48, "--jit-level", "O1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == ["model", "dataset", "environment", "machine", "performance", "timing"]
    built = json.loads((small_package / "hubpkg.json").read_bytes())
    figures = result["performance"]
    assert figures.keys() == built["performance"].keys()
    assert figures["parameters_m"] == built["performance"]["parameters_m"]
    assert (figures["batch_size"], figures["image_size"], figures["jit_level"]) == (4, 48, "O1")
    assert (figures["precision"], figures["inference_precision"], figures["engine"]) == ("float32",) * 2 + (
        "mindspore",
    )
    assert [rate["batch_size"] for rate in figures["throughput"]] == [1, 4]
    assert result["environment"]["mindspore"] == built["environment"]["mindspore"]
    assert result["timing"] == f"runs/{STEM}.timing.json"
    timings = performance.read_timings(tmp_path / result["timing"])
    parameters = performance.read_parameters(small_package / "evidence" / "parameters.csv")
    assert performance.measure(timings, parameters).as_json() == figures
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {f"{STEM}.timing.json", f"{STEM}.benchmark.json"}
    assert json.loads((tmp_path / "runs" / f"{STEM}.benchmark.json").read_text()) == result


@pytest.mark.parametrize("arguments", [["--engine=onnxruntime"], ["--workers=2", "--sweep=batch-size=1,4"]])
def test_benchmark_times_engines_and_workers(hubpkg, here, tmp_path, arguments):
    command = hubpkg if "--workers=2" in arguments else here
    done = command("benchmark", SMALL, "--json", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    timings = performance.read_timings(tmp_path / json.loads(done.stdout)["timing"])
    engines, devices = ({getattr(timing, key) for timing in timings.inference} for key in ("engine", "devices"))
    assert (engines, devices) == (({"mindspore"}, {2}) if "--workers=2" in arguments else ({"onnxruntime"}, {1}))


def test_benchmark_needs_no_images_and_shows_a_table(here, tmp_path):
    options = ("--dataset", "imagenet2012", "--batch-size", 2, "--image-size", 32, "--precision", "float16")
    done = here("benchmark", SMALL, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in done.stdout.splitlines()[1:])
    assert list(rows)[:6] == ["parameters", "setting", "compile", "training", "latency", "throughput"]
    assert list(rows)[-2:] == ["machine", "timing"]
    assert rows["setting"] == ("32x32 pixels, jit level O2, training in float16, inference in float16 with mindspore")
    assert re.match(r"load before [\d.]+, load after [\d.]+", rows["machine"])
    assert re.fullmatch(r"[\d.]+ ms/step of 2 images, [\d.]+ img/s", rows["training"])
    assert re.fullmatch(r"img/s [\d.]+ in batches of 1, [\d.]+ in batches of 2", rows["throughput"])
    timings = performance.read_timings(tmp_path / rows["timing"])
    assert {t.precision for t in [timings.training, *timings.inference]} == {"float16"}
    noisy = any(list(t.noise()) for t in [timings.training, *timings.inference])
    assert ("noisy" in rows) == noisy


def test_a_sweep_of_image_sizes_is_kept_as_samples_table_and_picture(here, tmp_path):
    done = here("benchmark", SMALL, "--sweep", "image-size=64,32,64,96", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [(p["image_size"], p["tokens"], p["batch_size"]) for p in result["points"]] == [
        (32, 4, 1),
        (64, 16, 1),
        (96, 36, 1),
    ]
    costs = {point["tokens"]: point["ms_per_image"] for point in result["points"]}
    assert result["exponent"] == pytest.approx(performance.exponent(costs), abs=1e-3)
    for point in result["points"]:
        assert point["samples"] == 100
        assert point["p50_ms"] <= point["p90_ms"] <= point["p99_ms"]
    with (tmp_path / result["csv"]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["ms_per_image"] for row in rows] == [str(point["ms_per_image"]) for point in result["points"]]
    timings = performance.read_timings(tmp_path / result["timing"])
    assert timings.training is None
    assert [timing.image_size for timing in timings.inference] == [32, 64, 96]
    assert ET.parse(tmp_path / result["plot"]).getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        f"{STEM}.image-size.{suffix}" for suffix in ("csv", "json", "svg", "timing.json")
    ]


def test_a_sweep_of_batch_sizes_is_shown_as_a_table(here, tmp_path):
    done = here("benchmark", SMALL, "--sweep", "batch-size=2,1", "--image-size", 64, "--out", tmp_path / "here")
    assert done.returncode == 0, done.stderr
    title, *rows = done.stdout.splitlines()
    assert title == f"{SMALL}, by its recipe for digits"
    assert [row.split()[0] for row in rows] == ["batch-size", "batch-size", "machine", "csv", "plot", "timing"]
    assert re.match(r"  batch-size 1 +p50 [\d.]+, p90 [\d.]+, p99 [\d.]+ ms, [\d.]+ img/s", rows[0])
    assert (tmp_path / "here" / f"{STEM}.batch-size.svg").is_file()
    timings = performance.read_timings(tmp_path / "here" / f"{STEM}.batch-size.timing.json")
    assert [(t.batch_size, t.image_size) for t in timings.inference] == [(1, 64), (2, 64)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--image-size", "40"], ["multiples of 16", "40 x 40"]),
        (["--sweep", "image-size=32,40"], ["multiples of 16", "40 x 40"]),
        (["--precision", "bfloat16"], ["--precision: expected", "float32, found bfloat16: "]),
        (["--sweep", "batch-size=1,2", "--batch-size", "2"], ["--batch-size: expected it alone or as --sweep"]),
        (["--sweep", "image-size=32", "--image-size", "32"], ["--image-size: expected it alone or as --sweep"]),
        (["--sweep", "patch-size=8"], ["expected batch-size=... or image-size=..., found 'patch-size=8'"]),
        (["--sweep", "image-size"], ["expected whole numbers above 0 with commas", "found 'image-size'"]),
        (["--sweep", "image-size=224,...,1024"], ["expected whole numbers above 0"]),
        (["--sweep", "batch-size=0,1"], ["expected whole numbers above 0"]),
        (["--batch-size", "0"], ["--batch-size: invalid whole number above 0 value: '0'"]),
        (["--image-size", "1.5"], ["--image-size: invalid whole number above 0 value: '1.5'"]),
        (["--jit-level", "O3"], ["'O3'", "O0", "O2"]),
        (["--precision", "int8"], ["'int8'", "float16"]),
        (
            ["--dataset", "none"],
            ["--dataset: expected one of digits, fashion-mnist, imagefolder, imagenet2012, found 'none'"],
        ),
        (["--out", __file__], [f"{__file__}: ", "File exists"]),
    ],
)
def test_a_mistake_gets_one_line_and_status_2_and_leaves_nothing(here, tmp_path, options, words):
    done = here("benchmark", SMALL, *options, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(lines(done)) == 1, done.stderr
    for word in words:
        assert word in lines(done)[0]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def job(models, monkeypatch):
    """The small model on digits, and what is reported."""
    monkeypatch.setenv("HUBPKG_MODELS", str(models))
    said = []
    return Job(spec.read_spec(SMALL, "digits"), None, "CPU", said.append), said


class Failing:
    """Times as before, but fails at the ``n``-th measurement of a sweep, or at the training of a benchmark."""

    def __init__(self, monkeypatch, error, point):
        from hubpkg.runtime import timing

        self.error = error
        self.left = point
        self.timed = timing.time_inference
        monkeypatch.setattr(timing, "time_inference", self.inference)
        monkeypatch.setattr(timing, "time_training", self.training)
        monkeypatch.setattr(timing, "LATENCY_SAMPLES", 2)
        monkeypatch.setattr(timing, "SAMPLES", 2)

    def inference(self, *arguments, **options):
        if not self.left:
            raise self.error
        self.left -= 1
        return self.timed(*arguments, **options)

    def training(self, *_):
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), HubpkgError("time x1: memory")])
def test_a_sweep_that_is_stopped_keeps_what_was_measured(job, tmp_path, monkeypatch, error):
    Failing(monkeypatch, error, 2)
    with pytest.raises(type(error)):
        benchmark.sweep(job[0], Setting(), "image-size", [32, 64, 96], tmp_path)
    stem = f"{STEM}.image-size"
    assert [t.image_size for t in performance.read_timings(tmp_path / f"{stem}.timing.json").inference] == [32, 64]
    assert len((tmp_path / f"{stem}.csv").read_text().splitlines()) == 3
    assert (tmp_path / f"{stem}.svg").is_file()
    assert len([line for line in job[1] if "kept in" in line]) == 2


def test_a_sweep_that_is_stopped_before_the_first_point_leaves_nothing(job, tmp_path, monkeypatch):
    Failing(monkeypatch, KeyboardInterrupt(), 0)
    with pytest.raises(KeyboardInterrupt):
        benchmark.sweep(job[0], Setting(), "batch-size", [1], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_benchmark_that_is_stopped_keeps_what_was_measured(job, tmp_path, monkeypatch):
    Failing(monkeypatch, KeyboardInterrupt(), 3)
    with pytest.raises(KeyboardInterrupt):
        benchmark.benchmark(job[0], Setting(), tmp_path)
    timings = performance.read_timings(tmp_path / f"{STEM}.timing.json")
    assert timings.training is None
    assert [timing.batch_size for timing in timings.inference] == [1, 8, 64]


def test_ctrl_c_ends_a_sweep_with_what_was_measured(start, tmp_path):
    process = start("benchmark", SMALL, "--sweep", "batch-size=1,2,1024,2048,4096", stdout=subprocess.DEVNULL)
    assert process.stderr.readline().startswith("benchmark: inference x1 at 32x32: ")
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait() == 130, said
    assert said.splitlines()[-1] == "hubpkg: interrupted; finished stages are kept"
    timings = performance.read_timings(tmp_path / "runs" / f"{STEM}.batch-size.timing.json")
    assert 1 <= len(timings.inference) < 5
    assert (tmp_path / "runs" / f"{STEM}.batch-size.svg").is_file()


def test_a_sweep_without_matplotlib_says_what_to_install_before_it_begins(models, tmp_path, shared_cache):
    code = "import sys; sys.modules['matplotlib'] = None; from hubpkg.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "benchmark", SMALL, "--sweep", "batch-size=1,2"],
        env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(shared_cache)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "expected the module matplotlib" in done.stderr
    assert not (tmp_path / "runs").exists()


POINTS = [
    {
        "image_size": size,
        "tokens": (size // 16) ** 2,
        "batch_size": 1,
        "ms_per_image": cost,
        "images_per_second": 1e3 / cost,
    }
    for size, cost in ((224, 70.0), (448, 240.0), (1024, 1324.0))
]


@pytest.mark.parametrize("key", benchmark.SWEEPS)
def test_a_picture_is_the_same_file_for_the_same_points(tmp_path, key):
    from hubpkg.runtime import plot

    files = [tmp_path / "first.svg", tmp_path / "second.svg"]
    for file in files:
        plot.draw(file, key, POINTS[:1] if key == "batch-size" else POINTS, "a model")
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_of_image_sizes_has_tokens_on_its_axis_or_pixels(tmp_path, known):
    from hubpkg.runtime import plot

    points = [point if known else {**point, "tokens": None} for point in POINTS]
    plot.draw(tmp_path / "plot.svg", "image-size", points, "a model")
    text = (tmp_path / "plot.svg").read_text(encoding="utf-8")  # matplotlib tells each text in a comment
    assert ("<!-- linear in tokens -->" in text) == known
    assert ("<!-- 4,096 -->" in text) == known
    assert ("<!-- 1,048,576 -->" in text) == (not known)
    assert "<!-- 1024 px -->" in text
    assert "<!-- 1,324 -->" in text
