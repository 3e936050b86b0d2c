"""What is shipped and installed: the wheel's files, the size of the plain install, the extras and the lock."""

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLAIN = PYPROJECT["project"]["dependencies"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
GROUPS = PYPROJECT["dependency-groups"]
LOCKS = [ROOT / "constraints.txt", ROOT / "constraints-2.10.txt"]


def kept(*paths):
    """The files under some paths that git keeps or would add; in an unpacked sdist, which is no repository, all."""
    if not (ROOT / ".git").exists():
        files = [file for path in paths for file in [ROOT / path, *(ROOT / path).rglob("*")] if file.is_file()]
        return {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {path for path in listed if (ROOT / path).exists()}


def build(target, folder):
    """Build the wheel or the sdist into a folder, with no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def requirements(*tables):
    """The requirements of tables of pyproject.toml, but those that name another table."""
    listed = [entry for table in tables for entry in table if isinstance(entry, str)]
    return [Requirement(entry) for entry in listed if not entry.startswith("hubpkg[")]


def pins(lock):
    """Each distribution pinned in a lock: its version and its hashes."""
    blocks = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n +.*)*)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (version, re.findall(r"--hash=sha256:[0-9a-f]{64}\b", rest)) for name, version, rest in blocks}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return importlib.metadata.PathDistribution(zipfile.Path(wheel, path).parent)


def test_the_wheel_holds_the_package_the_models_the_schemas_and_the_manual_and_no_more(wheel):
    package = {name for name in wheel.namelist() if ".dist-info/" not in name and ".data/" not in name}
    assert package == kept("hubpkg") | {f"hubpkg/{path}" for path in kept("models", "schemas")}
    (manual,) = [name for name in wheel.namelist() if ".data/" in name]
    assert manual.endswith(".data/data/share/man/man1/hubpkg.1")
    assert wheel.read(manual) == (ROOT / "docs" / "hubpkg.1").read_bytes()
    assert {"hubpkg/cli.py", "hubpkg/schemas/card.schema.json"} <= package
    assert "hubpkg/models/xcit_tiny_12_p16_224/model.yaml" in package


def test_the_sdist_holds_what_the_wheel_and_the_tests_need_and_no_more(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}
    sources = [
        "benchmarks",
        "docs",
        "hubpkg",
        "models",
        "schemas",
        "tests",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        ".gitignore",
    ]
    assert names == kept(*sources, "dev.py", "mkdocs.yml", *(lock.name for lock in LOCKS))


def test_the_wheel_says_what_it_is(wheel, metadata):
    version = re.search(
        r'^__version__ = "(.+)"$', (ROOT / "hubpkg/__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert metadata.version == version[1]
    assert metadata.metadata["License-Expression"] == "Apache-2.0"
    licence = f"hubpkg-{metadata.version}.dist-info/licenses/LICENSE"
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert {(script.name, script.value) for script in metadata.entry_points} == {("hubpkg", "hubpkg.cli:main")}


def test_the_extras_are_runtime_and_the_same_with_mindspore(metadata):
    assert set(metadata.metadata.get_all("Provides-Extra")) == {
        *("runtime", "build", "onnxruntime", "completion", "report", "s3", "sign"),
    }
    assert set(EXTRAS["build"]) == {"hubpkg[runtime]", "mindspore==2.8.0"}
    runtime = {requirement.name: requirement for requirement in requirements(EXTRAS["runtime"])}
    assert "mindspore" not in runtime
    assert runtime["numpy"].specifier.contains("1.26.4")
    assert not runtime["numpy"].specifier.contains("2.0.0")


def test_the_plain_install_is_below_40_mb_and_has_no_framework(wheel):
    """A wheel is a compressed archive of what it installs, so that the size installed bounds the wheel's from above."""
    sizes = {}
    waiting = requirements(PLAIN)
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name in sizes:
            continue
        distribution = importlib.metadata.distribution(name)
        sizes[name] = sum(file.locate().stat().st_size for file in distribution.files if file.locate().exists())
        needed = [Requirement(entry) for entry in distribution.requires or []]
        waiting += [entry for entry in needed if entry.marker is None or entry.marker.evaluate({"extra": ""})]
    assert {"jinja2", "markupsafe", "jsonschema", "attrs", "pyyaml", "rfc8785"} <= sizes.keys()
    assert not {"mindspore", "numpy", "onnxruntime", "scikit-learn", "scipy"} & sizes.keys()
    assert all(sizes.values())
    assert sum(sizes.values()) + sum(file.file_size for file in wheel.infolist()) < 40_000_000, sizes


def test_every_requirement_is_locked_with_its_hashes():
    locked = pins(ROOT / "constraints.txt")
    groups = [table for name, table in GROUPS.items() if name != "compat"]
    wanted = requirements(PLAIN, *EXTRAS.values(), *groups, PYPROJECT["build-system"]["requires"])
    assert [entry.name for entry in wanted if not entry.specifier] == []
    missing = [str(entry) for entry in wanted if canonicalize_name(entry.name) not in locked]
    assert missing == []
    other = [str(entry) for entry in wanted if locked[canonicalize_name(entry.name)][0] not in entry.specifier]
    assert other == []


def test_what_the_locked_distributions_need_is_locked_too():
    locked = pins(ROOT / "constraints.txt")
    environment = {"extra": ""}
    for name in locked:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # locked for another system
        needed = [Requirement(entry) for entry in distribution.requires or []]
        for entry in needed:
            if entry.marker is None or entry.marker.evaluate(environment):
                assert locked[canonicalize_name(entry.name)][0] in entry.specifier, f"{name} needs {entry}"


def test_the_compat_lock_changes_mindspore_alone():
    assert GROUPS["compat"] == ["mindspore==2.10.0"]
    assert {name: version for name, (version, _) in pins(LOCKS[1]).items()} == {"mindspore": "2.10.0"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_hashes_for_all_and_no_address(lock):
    text = lock.read_text(encoding="utf-8")
    assert [name for name, (_, hashes) in pins(lock).items() if not hashes] == []
    assert len(pins(lock)) == len(re.findall(r"^\w", text, re.MULTILINE))
    assert not re.search(r"://|\bwww\.|--(extra-)?index|--find-links|(?<!\w)[/~]\w", text)
