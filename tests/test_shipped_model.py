"""The README's build of the shipped model, and every command on its card."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODEL = "xcit_tiny_12_p16_224"
PACKAGE = f"{MODEL}_digits"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def built(hubpkg, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    done = hubpkg("build", MODEL, "--out", out, "--json", env={"HUBPKG_CACHE": str(cache)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_readme_s_build_reaches_98_percent(built):
    assert built["samples"] >= 350
    assert built["metrics"]["top1"] >= 98


def test_its_package_verifies_and_says_the_same_when_run_again(built, hubpkg):
    done = hubpkg("verify", "--rerun", built["package"], "--json")
    assert done.returncode == 0, done.stdout
    assert all(check["ok"] for check in json.loads(done.stdout)["checks"])


def blocks(card, language):
    """The code blocks of a language, with what a list's indent put before them taken off."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", card, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


@pytest.fixture
def consumer(built, tmp_path):
    """A folder with the package's files, in which a reader of the card would work."""
    folder = tmp_path / PACKAGE
    shutil.copytree(built["package"], folder)
    return folder


def test_the_card_s_sections_are_those_of_the_hub(built):
    headings = re.findall(r"^(#+ .*)$", Path(built["card"]).read_text(), re.MULTILINE)
    assert [heading for heading in headings if not heading.startswith("# ")] == [
        "## Requirements",
        "## Introduction",
        "## Performance",
        "### Notes",
        "## Quick Start",
        "### Preparation",
        "#### Installation",
        "#### Dataset Preparation",
        "### Training",
        "### Validation",
        "## Usage",
        "## References",
    ]


def test_the_card_s_figure_and_recipe_are_in_the_package(built):
    card = Path(built["card"]).read_text()
    figure, curves = re.findall(r'<img src="([^"]+)"', card)
    assert (Path(built["package"]) / figure).read_text().startswith("<svg")
    assert (Path(built["package"]) / curves).read_text().startswith("<?xml")
    (recipe,) = re.findall(r"\[yaml\]\(([^/]+/recipes/\S+\.yaml)\)", card)
    assert (Path(built["package"]) / recipe).is_file()


def test_the_card_s_installation_command_installs(built, tmp_path):
    command, *others = blocks(Path(built["card"]).read_text(), "shell")
    assert command == "pip install 'hubpkg[build]'\n"
    assert len(others) == 5
    wheels = tmp_path / "wheels"
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels], cwd=ROOT, check=True)
    # A new environment that has all that is installed here, but for hubpkg: pip gets that from the wheel.
    venv.create(tmp_path / "venv", with_pip=True)
    others = tmp_path / "others"
    others.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "hubpkg" not in path.name and path.suffix != ".pth":
            (others / path.name).symlink_to(path)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{others}\n")
    environment = {
        "PATH": f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }
    subprocess.run(command, shell=True, env=environment, check=True, cwd=tmp_path)  # noqa: S602 - the card's own line
    version = subprocess.check_output(["hubpkg", "--version"], env=environment, cwd=tmp_path, text=True)  # noqa: S607
    assert version == "hubpkg 0.1.0\n"
    assert (site / "hubpkg" / "models" / MODEL / "model.yaml").is_file()


def test_the_card_s_training_and_validation_commands_run(built, consumer, cache):
    _, _, _, train, _, validate = blocks(Path(built["card"]).read_text(), "shell")
    environment = {
        **os.environ,
        "HUBPKG_CACHE": str(cache),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def run(command):
        return subprocess.check_output(command, shell=True, env=environment, cwd=consumer, text=True)  # noqa: S602

    checkpoint = run(train).strip()
    assert (consumer / checkpoint).read_bytes() == Path(built["checkpoint"]).read_bytes()
    assert f"{built['metrics']['top1']:.2f} % of {built['samples']} images" in run(validate)


def test_the_card_s_python_loads_the_network(built, consumer, tmp_path):
    ours, hub = blocks(Path(built["card"]).read_text(), "python")
    (tmp_path / "mindspore_hub.py").write_text("from hub_client import load\n__all__ = ['load']\n")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])
    for code, shown in [(ours, "print(logits.shape)"), (hub, "print(type(network).__name__)")]:
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\n{shown}"],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=consumer,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == {"print(logits.shape)": "(1, 10)\n"}.get(shown, "XCiT\n")
