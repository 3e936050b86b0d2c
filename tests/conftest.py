"""A small model, a package of it that is built once, and the command line as a subprocess."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CORPUS = ROOT.parent / "shared" / "hub-cards"
LARGE, SMALL = "xcit_tiny_12_p16_224", "xcit_small"
LOG = "GLOG_v"  # how much MindSpore says, which a command sets
OWN_CACHE = "own cache"  # in tmp_path, of the processes that a test starts

os.environ.pop("SOURCE_DATE_EPOCH", None)  # as a build of packages has it: times would all be that one

# What is ignored here, as nohup has it and a shell in the background, would be ignored by all that a test starts.
for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(ending) == signal.SIG_IGN:
        signal.signal(ending, signal.default_int_handler if ending == signal.SIGINT else lambda *_: None)

# As hubpkg sets it before it checks a signature: MindSpore can't be imported after protobuf's other implementation.
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"

# The same examples each time, however slow the machine: a run passes or fails for what it tests, not by luck.
hypothesis.settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")


# The files that take longest begin first, so that processes which share the files end at about the same time.
LONGEST = (
    *("shipped_model", "trainer", "package", "evaluator", "training", "network", "step", "benchmark", "examples"),
    *("rerun", "docs", "forgeries", "lint_command", "documents", "verification", "cli", "reproducibility", "signature"),
)


def pytest_collection_modifyitems(items):
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    missing = {
        "browser": None if CHROMIUM else "Chromium is not installed, or not called chromium",
        "corpus": None if CORPUS.is_dir() else f"the hub's cards are not at {CORPUS}",
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, for the tests marked ``browser``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, Chromium has no sandbox.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder for HUBPKG_MODELS with one model: xcit_small, the shipped network with one block of each kind."""
    folder = tmp_path_factory.mktemp("models")
    make_small(folder)
    return folder


def make_small(folder, name=SMALL, sizes="depth=1, dim=32, num_heads=2, class_depth=1"):
    """Put the model ``name``, the shipped network with ``sizes``, into ``folder``."""
    small = folder / name
    shutil.copytree(ROOT / "models" / LARGE, small, ignore=shutil.ignore_patterns("__pycache__"))
    (small / f"{LARGE}_network.py").rename(small / f"{name}_network.py")
    for file in [*small.glob("*.py"), *small.rglob("*.yaml")]:
        file.write_text(file.read_text(encoding="utf-8").replace(LARGE, name), encoding="utf-8")
    _change(small / "mindspore_hub_conf.py", r"return XCiT\(", f"return XCiT({sizes},")
    recipe = small / "recipes" / "digits.yaml"
    for key, value in {"epochs": 1, "lr": 2e-3, "warmup_epochs": 0.1, "decay_epochs": 0.9}.items():
        _change(recipe, rf"^{key}:.*$", f"{key}: {value}")


def _change(file, pattern, replacement):
    text, count = re.subn(pattern, replacement, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count == 1, f"{file}: {count} places match {pattern}"
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """The cache that all runs of a session share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def hubpkg(tmp_path_factory, models, shared_cache):
    """Runs the command line, and gives the CompletedProcess with its text.

    It finds the model xcit_small. Unless a test says otherwise it runs in an empty folder, and all runs of a session
    share one cache.
    """

    def run(*arguments, env=None, cwd=None):
        return subprocess.run(
            [sys.executable, "-m", "hubpkg", *map(str, arguments)],
            env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(shared_cache), **(env or {})},
            cwd=cwd or tmp_path_factory.mktemp("cwd"),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def start(models, tmp_path):
    """Starts the command line, with a cache and a folder of its own, and gives the process; none outlives the test."""
    with starting(models, tmp_path) as run:
        yield run


@contextlib.contextmanager
def starting(models, folder):
    """What ``start`` gives, in ``folder``."""
    processes = []

    def run(*arguments, env=None, **options):
        piped = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(
            [sys.executable, "-m", "hubpkg", *map(str, arguments)],
            env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(folder / OWN_CACHE), **(env or {})},
            **{**piped, **options},
        )
        processes.append(process)
        return process

    try:
        yield run
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def process_as_before():
    """Put back what a command sets in this process: the signals' handlers, Python's hook, and MindSpore's mode."""
    mode = sys.modules["mindspore"].get_context("mode") if "mindspore" in sys.modules else None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    hook = sys.unraisablehook
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        if mindspore := sys.modules.get("mindspore"):
            mindspore.set_context(mode=mindspore.PYNATIVE_MODE if mode is None else mode)


@pytest.fixture(scope="module", autouse=True)
def file_as_before():
    """Let each file of tests begin with handlers, hook, mode and log as they are without those before it."""
    before = os.environ.get(LOG)
    with process_as_before():
        yield
    os.environ.pop(LOG, None)
    if before is not None:
        os.environ[LOG] = before


@pytest.fixture(scope="session")
def here(tmp_path_factory, models, shared_cache):
    """As ``hubpkg``, in this process: quicker, for where it is not the process that is tested."""
    from hubpkg import cli

    def run(*arguments, env=None, cwd=None):
        out, err = io.StringIO(), io.StringIO()
        with (
            process_as_before(),
            pytest.MonkeyPatch.context() as patched,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for key, value in {"HUBPKG_MODELS": models, "HUBPKG_CACHE": shared_cache, **(env or {})}.items():
                patched.setenv(key, str(value))
            patched.chdir(cwd or tmp_path_factory.mktemp("cwd"))
            try:
                status = cli.main([str(argument) for argument in arguments])
            except SystemExit as end:  # of the parser
                status = end.code
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def small_package(hubpkg, tmp_path_factory):
    """The package of xcit_small on digits, built once; tests read it and leave it as it is."""
    out = tmp_path_factory.mktemp("dist")
    done = hubpkg("build", SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    return out / f"{SMALL}_digits"


@pytest.fixture
def package(small_package, tmp_path):
    """A copy of the small package, for a test to change."""
    return Path(shutil.copytree(small_package, tmp_path / small_package.name))


@pytest.fixture
def mode():
    """Sets MindSpore's mode, ``graph`` or ``pynative``; it is as before when the test is over."""
    import mindspore  # most tests do without it

    before = mindspore.get_context("mode")
    modes = {"graph": mindspore.GRAPH_MODE, "pynative": mindspore.PYNATIVE_MODE}
    yield lambda name: mindspore.set_context(mode=modes[name])
    mindspore.set_context(mode=before)
