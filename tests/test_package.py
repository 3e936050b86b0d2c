"""Builds of the small model: what they leave, what they reuse, and what they refuse."""

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import OWN_CACHE, SMALL, starting
from forging import read_manifest
from PIL import Image

PACKAGE = f"{SMALL}_digits"
BUILT = [PACKAGE, f"{PACKAGE}.report.html"]  # what a build leaves
CARD = f"{PACKAGE}.md"


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / OWN_CACHE
    folder.mkdir()
    return folder


@pytest.fixture
def build(start):
    """Starts a build with a cache of its own, and gives the process."""
    return functools.partial(start, "build", SMALL)


def wait_for(pattern, folder, process):
    deadline = time.monotonic() + 600  # that nothing hangs is all that it is for
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_build_leaves_card_checkpoint_entrypoint_manifest_and_evidence(small_package):
    files = {path.relative_to(small_package).as_posix() for path in small_package.rglob("*") if path.is_file()}
    contents = json.loads((small_package / "hubpkg.json").read_bytes())
    assert files == {
        f"{PACKAGE}.md",
        contents["checkpoint"]["file"],
        "hubpkg.json",
        "evidence/bom.cdx.json",
        "evidence/mistakes.json",
        "evidence/parameters.csv",
        "evidence/predictions.csv",
        "evidence/provenance.json",
        "evidence/timing.json",
        "evidence/training.json",
        "evidence/training.jsonl",
        "evidence/training.svg",
        "xcit_small/architecture.svg",
        "xcit_small/create_network.json",
        "xcit_small/mindspore_hub_conf.py",
        "xcit_small/model.yaml",
        "xcit_small/recipes/digits.yaml",
        "xcit_small/recipes/fashion-mnist.yaml",
        "xcit_small/recipes/imagefolder.yaml",
        "xcit_small/recipes/imagenet2012.yaml",
        "xcit_small/training.svg",
        "xcit_small/weights.yaml",
        "xcit_small/xcit_small_network.py",
    }


def test_a_build_leaves_a_report_beside_the_package_with_the_images_it_gets_wrong(small_package):
    report = small_package.with_name(f"{PACKAGE}.report.html")
    text = report.read_text(encoding="utf-8")
    wrong = re.search(r"(\d+) of 360 images were given another class", text)
    assert text.count('src="data:image/png;base64,') == min(int(wrong[1]), 24)
    assert "Verified</a>" in text
    assert len(text) < 400_000


def test_build_prints_one_json_document(here, tmp_path):
    done = here("build", SMALL, "--out", tmp_path / "dist", "--json")
    result = json.loads(done.stdout)
    keys = ["uid", "package", "card", "checkpoint", "metrics", "samples", "damaged", "performance", "report"]
    assert list(result) == keys
    assert result["uid"] == f"hubpkg/2.8/{PACKAGE}"
    assert result["samples"] == 360
    assert 0 <= result["metrics"]["top1"] <= result["metrics"]["top5"] <= 100
    assert Path(result["card"]).is_file()
    assert Path(result["checkpoint"]).is_file()
    assert Path(result["report"]).is_file()
    figures = result["performance"]
    assert figures["images_per_second"] == pytest.approx(figures["batch_size"] / figures["ms_per_step"] * 1e3, rel=1e-4)
    assert figures["latency_p50_ms"] <= figures["latency_p90_ms"] <= figures["latency_p99_ms"]


def test_the_environment_of_the_measurement_is_in_the_manifest(small_package):
    environment = json.loads((small_package / "hubpkg.json").read_bytes())["environment"]
    assert environment["cpu_count"] == os.cpu_count()
    assert environment["mindspore"].startswith("2.")
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["ascend_driver"] is None
    assert environment["os"]
    assert environment["cpu"]


def test_an_unchanged_build_reuses_every_stage_and_does_not_import_the_framework(
    hubpkg, models, shared_cache, tmp_path
):
    out = tmp_path / "dist"
    assert hubpkg("build", SMALL, "--out", out).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    blocked = "import sys; sys.modules['mindspore'] = None; from hubpkg.cli import main; sys.exit(main(sys.argv[1:]))"
    again = subprocess.run(
        [sys.executable, "-c", blocked, "build", SMALL, "--out", out],
        env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(shared_cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    for stage in ("train", "evaluate", "benchmark"):
        assert f"{stage}: reused" in again.stderr
    assert "up to date" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_other_links_make_another_card_and_run_no_stage(here, tmp_path):
    out = tmp_path / "dist"
    assert here("build", SMALL, "--out", out).returncode == 0
    done = here("build", SMALL, "--out", out, "--asset-base-url", "https://example.com/other/")
    assert done.returncode == 0, done.stderr
    assert "done in" not in done.stderr
    assert "<https://example.com/other/xcit_small-" in (out / PACKAGE / f"{PACKAGE}.md").read_text()
    assert here("verify", out / PACKAGE).returncode == 0
    assert sorted(path.name for path in out.iterdir()) == BUILT


def test_killed_after_each_stage_the_next_build_goes_on_from_it(build, cache, tmp_path):
    reused = []
    for stage in ("train", "evaluate", "benchmark"):
        killed = build()
        wait_for(f"stage/{stage}-*[!kl]", cache, killed)
        killed.send_signal(signal.SIGKILL)
        _, log = killed.communicate()
        assert [line.split(":")[0] for line in log.splitlines() if "reused" in line] == reused
        assert not list(tmp_path.glob("dist/[!.]*"))
        reused.append(stage)
    last = build()
    _, log = last.communicate()
    assert last.returncode == 0, log
    assert [line.split(":")[0] for line in log.splitlines() if "reused" in line] == reused
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == BUILT


@pytest.mark.parametrize(
    ("moment", "stages"),
    [
        ("train-*.partial", ["train"]),
        ("../training/*/training.jsonl", ["train"]),
        ("evaluate-*.partial", ["train", "evaluate"]),  # after MindSpore has put a handler of its own in place
    ],
)
def test_interrupted_it_says_so_and_leaves_no_half_result(moment, stages, build, cache, tmp_path):
    interrupted = build()
    wait_for(f"stage/{moment}", cache, interrupted)
    interrupted.send_signal(signal.SIGINT)
    out, log = interrupted.communicate()
    assert (interrupted.returncode, out) == (130, ""), log
    running = [line.partition(":")[0] for line in log.splitlines() if line.endswith(": running")]
    assert [stage for stage in running if stage != "export"] == stages  # to where native code lets an interrupt in
    assert log.splitlines()[-1] == "hubpkg: interrupted; finished stages are kept"
    assert not (tmp_path / "dist").exists()
    assert not list(cache.glob("stage/*.partial"))


def test_killed_between_two_renames_the_earlier_package_comes_back(here, small_package, tmp_path):
    out = tmp_path / "dist"
    assert here("build", SMALL, "--out", out).returncode == 0
    (out / PACKAGE).rename(out / f".{PACKAGE}.replaced")
    shutil.copytree(small_package, out / f".{PACKAGE}.partial")
    done = here("build", SMALL, "--out", out)
    assert done.returncode == 0
    assert "up to date" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == BUILT


def test_a_damaged_package_is_made_anew(here, tmp_path):
    out = tmp_path / "dist"
    assert here("build", SMALL, "--out", out).returncode == 0
    (out / PACKAGE / f"{PACKAGE}.md").write_text("nothing")
    assert here("build", SMALL, "--out", out).returncode == 0
    assert here("verify", out / PACKAGE).returncode == 0


@pytest.fixture(scope="session")
def weights(small_package):
    (file,) = small_package.glob("*.ckpt")
    return file


@pytest.fixture(scope="module")
def twice(models, weights, tmp_path_factory):
    """What two builds at once of a checkpoint file leave in a folder of their own, and what they print."""
    folder = tmp_path_factory.mktemp("twice")
    with starting(models, folder) as run:
        processes = [run("build", SMALL, "--checkpoint", weights, "--json") for _ in range(2)]
        printed = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    return folder, printed


def test_two_builds_at_once_share_their_stages(twice):
    folder, printed = twice
    logs = "".join(log for _, log in printed)
    assert logs.count("evaluate: done") == 1
    assert logs.count("waiting for another hubpkg") == 1
    assert sorted(path.name for path in (folder / "dist").iterdir()) == BUILT


def test_a_checkpoint_file_makes_a_package_that_says_so(twice, here, weights):
    folder, ((out, _), _) = twice
    package = folder / json.loads(out)["package"]
    assert (package / weights.name).read_bytes() == weights.read_bytes()
    assert not (package / "evidence" / "training.jsonl").exists()
    assert "given as a file" in (package / f"{PACKAGE}.md").read_text()
    assert here("verify", package).returncode == 0


def refused(done, out, *words):
    """The command ended with one line that holds ``words``, and wrote nothing."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert not out.exists()
    *progress, error = done.stderr.splitlines()
    assert all(re.fullmatch(r"\w+: (running|reused.*|done in .* s)", line) for line in progress), done.stderr
    assert error.startswith("hubpkg: error: ")
    for word in words:
        assert str(word) in error


@pytest.fixture(scope="session")
def bad_checkpoints(weights, tmp_path_factory):
    import mindspore
    import numpy as np

    folder = tmp_path_factory.mktemp("checkpoints")
    content = weights.read_bytes()
    files = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "cut by a byte": content[:-1],
        "text": b"not a checkpoint\n" * 100,
        "torch": b"PK\x03\x04" + content[:5000],
        "random": np.random.default_rng(0).bytes(100_000),
    }
    for name, data in files.items():
        (folder / f"{name}.ckpt").write_bytes(data)
    parameters = mindspore.load_checkpoint(str(weights))

    def save(name, **changes):
        changed = {**parameters, **{key.replace("_", ".", 1): value for key, value in changes.items()}}
        entries = [{"name": key, "data": value} for key, value in changed.items() if value is not None]
        mindspore.save_checkpoint(entries, str(folder / f"{name}.ckpt"))

    def parameter(shape, kind=np.float32):
        return mindspore.Parameter(mindspore.Tensor(np.zeros(shape, kind)))

    save("missing", head_bias=None)
    save("extra", tail_bias=parameter(3))
    save("shape", head_bias=parameter(11))
    save("type", head_bias=parameter(10, np.float16))
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", ["0 bytes"]),
        ("cut", ["cut short"]),
        ("cut by a byte", ["cut short"]),
        ("text", ["another framework"]),
        ("torch", ["another framework"]),
        ("random", ["100000 bytes"]),
        ("missing", ["head.bias is missing"]),
        ("extra", ["tail.bias is not in the network"]),
        ("shape", ["head.bias has shape (11,) instead of (10,)"]),
        ("type", ["head.bias has type Float16 instead of Float32"]),
        ("absent", ["no file"]),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(name, words, here, bad_checkpoints, tmp_path):
    file = bad_checkpoints / f"{name}.ckpt"
    done = here("build", SMALL, "--checkpoint", file, "--out", tmp_path / "dist")
    refused(done, tmp_path / "dist", file, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["xcit_smal"], ["unknown model 'xcit_smal'", "xcit_small"]),
        ([SMALL, "--dataset", "digit"], ["digits, fashion-mnist, imagefolder, imagenet2012", "'digit'"]),
        ([SMALL, "--dataset", "imagenet2012"], ["--data-dir", "val/<synset>/*.JPEG"]),
        ([SMALL, "--dataset", "imagenet2012", "--data-dir", "nowhere"], ["found none at nowhere"]),
        ([SMALL, "--asset-base-url", "ftp://x"], ["asset-base-url"]),
    ],
)
def test_what_can_not_be_built_is_refused(arguments, words, here, tmp_path):
    refused(here("build", *arguments, "--out", tmp_path / "dist"), tmp_path / "dist", *words)


def test_a_folder_that_can_not_be_written_is_refused_before_the_work(here, tmp_path):
    (tmp_path / "file").write_text("")
    done = here("build", SMALL, "--out", tmp_path / "file" / "dist", env={"HUBPKG_CACHE": str(tmp_path / "cache")})
    refused(done, tmp_path / "file" / "dist", "Not a directory")
    assert not list(tmp_path.glob("cache/stage/*"))


def test_a_full_disk_leaves_the_folder_as_it_was(models, hubpkg, shared_cache, tmp_path):
    """The limit on a file's size stands for the disk's; all stages are reused, so that only dist/ is written to."""
    import resource

    assert hubpkg("build", SMALL, "--out", tmp_path / "first").returncode == 0
    done = subprocess.run(
        [sys.executable, "-m", "hubpkg", "build", SMALL, "--out", "dist"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        # Coverage would be measured into a file that is larger, and say so on stderr.
        env={
            **os.environ,
            "HUBPKG_MODELS": str(models),
            "HUBPKG_CACHE": str(shared_cache),
            "COVERAGE_PROCESS_CONFIG": "",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    refused(done, tmp_path / "dist", "File too large", f"dist/.{PACKAGE}.partial/{SMALL}-")


@pytest.mark.parametrize("target", ["a file", "a folder", "a dangling link"])
def test_what_is_no_package_is_never_replaced(target, here, tmp_path):
    path = tmp_path / "dist" / PACKAGE
    path.parent.mkdir()
    if target == "a file":
        path.write_text("mine")
    elif target == "a folder":
        path.mkdir()
        (path / "thesis.txt").write_text("mine")
    else:
        path.symlink_to("nowhere")
    done = here("build", SMALL, "--out", path.parent)
    assert done.returncode == 2
    assert f"{path}: expected a package that may be replaced, or nothing" in done.stderr
    assert [child.name for child in path.parent.iterdir()] == [PACKAGE]
    assert target != "a file" or path.read_text() == "mine"
    assert target != "a folder" or (path / "thesis.txt").read_text() == "mine"


@pytest.fixture
def own_model(models, tmp_path):
    """A copy of the small model in ./models of a folder to work in."""
    return Path(shutil.copytree(models / SMALL, tmp_path / "models" / SMALL))


def change(file, before, after):
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size: 32": "image_size: 30"}, ["multiples of 16, found 30 x 30", "shape (1, 1, 30, 30)"]),
        ({"num_classes: 10": "num_classes: 7"}, ["num_classes: expected 10, found 7"]),
        ({"in_channels: 1": "in_channels: 3", "[0.5]": "[0.5, 0.5, 0.5]"}, ["in_channels: expected 1, found 3"]),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(changes, words, own_model, here, tmp_path):
    for before, after in changes.items():
        change(own_model / "recipes" / "digits.yaml", before, after)
    refused(here("build", SMALL, cwd=tmp_path), tmp_path / "dist", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_model_whose_code_fails_is_named(own_model, here, tmp_path):
    change(own_model / "mindspore_hub_conf.py", "import json", "import json, nowhere")
    done = here("build", SMALL, cwd=tmp_path)
    refused(done, tmp_path / "dist", f"models/{SMALL}: expected a network", "No module named 'nowhere'")


def test_prose_runs_no_stage_again_and_litter_is_not_packed(own_model, here, tmp_path):
    assert here("build", SMALL, cwd=tmp_path).returncode == 0
    change(own_model / "model.yaml", "author: hubpkg contributors", "author: another publisher")
    change(own_model / "architecture.svg", "</svg>", "<!-- -->\n</svg>")
    change(own_model / "recipes" / "imagenet2012.yaml", "seed: 42", "seed: 43")
    (own_model / ".git").mkdir()
    (own_model / ".git" / "config").write_text("secret")
    (own_model / "stray.pyc").write_text("bytecode")
    (own_model / "model.yaml~").write_text("before")
    (own_model / "link").symlink_to("/etc/hostname")
    done = here("build", SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "running" not in done.stderr
    package = tmp_path / "dist" / PACKAGE
    assert "author: another publisher" in (package / f"{PACKAGE}.md").read_text()
    assert sorted(path.name for path in (package / SMALL).iterdir()) == [
        "architecture.svg",
        "create_network.json",
        "mindspore_hub_conf.py",
        "model.yaml",
        "recipes",
        "training.svg",
        "weights.yaml",
        "xcit_small_network.py",
    ]


def test_what_others_report_is_on_the_card_and_verify_says_where_it_lies(own_model, here, tmp_path):
    measured = json.loads(here("build", SMALL, "--json", cwd=tmp_path).stdout)["metrics"]["top1"]
    claims = f"[{{source: A list, top1: {measured}}}, {{source: Another, top1: 99.95, top5: 0.0}}]"
    change(own_model / "model.yaml", "  digits: {}", f"  digits: {{reported: {claims}}}")
    done = here("build", SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "done in" not in done.stderr  # it is prose, and no stage runs again
    package = tmp_path / "dist" / PACKAGE
    said = here("verify", package).stdout
    assert f"; top1 {measured:g} % as reported by A list lies within the measured interval, " in said
    assert "; top1 99.95 % as reported by Another lies outside the measured interval, " in said
    assert "; top5 0 % as reported by Another lies outside the measured interval, " in said
    assert f"| A list | top1 | {measured:g} | " in (package / CARD).read_text(encoding="utf-8")
    linted = here("lint", package / CARD)
    assert linted.stdout == here("lint", package / CARD, "--ignore", "ALL").stdout


def test_a_checkpoint_that_is_not_what_its_name_says_is_refused(here, weights, tmp_path):
    file = Path(shutil.copy(weights, tmp_path / "xcit_small-01234567.ckpt"))
    refused(here("build", SMALL, "--checkpoint", file, "--out", tmp_path / "dist"), tmp_path / "dist", "01234567...")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(weights, tmp_path):
    """The URL of a folder on loopback that holds the weights."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copyfile(weights, folder / "weights.ckpt")
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_weights_that_model_yaml_names_are_fetched(here, own_model, served, twice, tmp_path):
    file, link = own_model / "model.yaml", f"{served}/weights.ckpt"
    sha256 = hashlib.sha256((tmp_path / "served" / "weights.ckpt").read_bytes()).hexdigest()
    asset = f"{{checkpoint: {{links: [<{served}/gone.ckpt>, {link}], sha256: {sha256}}}}}"
    file.write_text(file.read_text(encoding="utf-8").replace("digits: {}", f"digits: {asset}"), encoding="utf-8")
    env = {"HUBPKG_CACHE": twice[0] / OWN_CACHE}  # where such weights were evaluated and timed
    done = here("build", SMALL, "--checkpoint", "fetch", "--out", tmp_path / "dist", "--json", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert f"{served}/gone.ckpt: expected the file, found status 404" in done.stderr
    package = Path(json.loads(done.stdout)["package"])
    checkpoint = read_manifest(package)["checkpoint"]
    assert (checkpoint["sha256"], checkpoint["source"], checkpoint["link"]) == (sha256, "fetch", f"{served}/gone.ckpt")
    assert f"The weights were fetched by their sha256, as the file named {served}/gone.ckpt" in (
        package / CARD
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["fetch"], "datasets.digits: expected the key checkpoint, which says what to fetch, found none"),
        (["URL"], "--sha256: expected the SHA-256 of http://127.0.0.1"),
        (["URL", "--sha256", "0" * 64], f"expected sha256 {'0' * 64}, found "),
        (["URL", "--sha256", "0" * 64, "--offline"], "hubpkg is offline"),
        (["FILE", "--sha256", "0" * 64], f"expected the sha256 {'0' * 64}, found "),
    ],
    ids=["nothing-to-fetch", "no-digest", "wrong-digest", "offline", "wrong-file"],
)
def test_weights_that_are_not_as_said_are_refused(options, words, here, served, tmp_path):
    places = {"URL": f"{served}/weights.ckpt", "FILE": tmp_path / "served" / "weights.ckpt"}
    done = here("build", SMALL, "--checkpoint", *(places.get(o, o) for o in options), "--out", tmp_path / "dist")
    refused(done, tmp_path / "dist", words)


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory, models):
    """Images in two classes, one of each part damaged, and the environment with the small model made to fit them."""
    data, ours = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("folder-models") / SMALL
    generator = np.random.default_rng(0)
    for part, count in {"train": 13, "val": 4}.items():
        for label, name in enumerate(("dark", "light")):
            (data / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(128 * label, 128 * (label + 1), (36, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(data / part / name / f"{index:02d}.jpg")
        damaged = data / part / "light" / "01.jpg"
        damaged.write_bytes(damaged.read_bytes()[:300])
    shutil.copytree(models / SMALL, ours)
    recipe = yaml.safe_load((ours / "recipes" / "digits.yaml").read_text(encoding="utf-8"))
    three = {"mean": [0.5] * 3, "std": [0.5] * 3, "in_channels": 3}
    recipe |= {**three, "dataset": "imagefolder", "num_classes": 2, "batch_size": 4}
    (ours / "recipes" / "imagefolder.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return data, {"HUBPKG_MODELS": str(ours.parent)}


def test_damaged_images_stop_a_build_or_are_left_out_and_counted(image_folder, here, tmp_path):
    data, env = image_folder
    arguments = ["build", SMALL, "--dataset", "imagefolder", "--data-dir", data, "--out", tmp_path]
    refused = here(*arguments, env=env)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert f"{data}/val/light/01.jpg: expected an image that can be read, found: " in refused.stderr
    assert (
        "1 of 8 images are damaged or missing: get them again, or leave them out with --skip-damaged" in refused.stderr
    )

    built = here(*arguments, "--skip-damaged", env=env)
    assert built.returncode == 0, built.stderr
    assert "the 8 images of 2 classes in a folder, less 1 damaged or missing, left out" in built.stdout
    package = tmp_path / f"{SMALL}_imagefolder"
    contents = json.loads((package / "hubpkg.json").read_text(encoding="utf-8"))
    assert contents["evaluation"]["samples"] == 7
    split = contents["inputs"]["data"]
    assert {name: (part["images"], part["damaged"]) for name, part in split.items()} == {
        "test": (8, ["light/01.jpg"]),
        "train": (26, ["light/01.jpg"]),
    }
    card = (package / f"{SMALL}_imagefolder.md").read_text(encoding="utf-8")
    assert (
        "- acc@top1: percent of 7 images: the 8 images of 2 classes in a folder, "
        "less 1 damaged or missing, which were left out. Its" in card
    )
    assert "- Training: 1 of the 26 training images were damaged or missing, and left out." in card

    again = ["verify", "--rerun", package, "--data-dir", data]
    assert here(*again, env=env).returncode == 2
    verified = here(*again, "--skip-damaged", env=env)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "as the manifest says; 1 damaged or missing, left out" in verified.stdout
    assert "7 images evaluated again by onnxruntime: 0 differ" in verified.stdout
    (checkpoint,) = package.glob("*.ckpt")
    evaluate = ["evaluate", SMALL, "--dataset", "imagefolder", "--data-dir", data, "--checkpoint", checkpoint]
    result = json.loads(here(*evaluate, "--skip-damaged", "--json", "--out", tmp_path / "runs", env=env).stdout)
    assert (result["samples"], result["damaged"]) == (7, 1)
    assert result["evaluated"] == "the 8 images of 2 classes in a folder"
