"""What is imported when, and by whom: the plain install needs no framework, and imports go one way."""

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hubpkg import manifest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "hubpkg").rglob("*.py"))
}
HEAVY = {
    "mindspore",
    "mindspore_lite",
    "jinja2",
    "requests",
    "numpy",
    "sklearn",
    "rich",
    "onnxruntime",
    "scipy",
    "matplotlib",
    "markdown_it",
    "nh3",
}
RUNTIME_ONLY = HEAVY - {"jinja2", "markdown_it", "nh3", "requests", "rich"}


def run_and_list_modules(code, cwd):
    """The top-level modules that Python has after running ``code``."""
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


def command(*arguments):
    return f"""
sys.argv = ["hubpkg", *{list(arguments)!r}]
import runpy
try:
    runpy.run_module("hubpkg", run_name="__main__")
except SystemExit as exit:
    status = exit.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import hubpkg",
        "import hubpkg.verification, hubpkg.card, hubpkg.spec, hubpkg.package, hubpkg.stages",
        command("--version"),
        command("--help"),
        command("build", "unknown"),
        "from hubpkg import spec; spec.read_spec('xcit_tiny_12_p16_224')",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(tmp_path, code):
    loaded = run_and_list_modules(code, tmp_path)
    assert "hubpkg" in loaded
    assert not HEAVY & loaded


def test_verify_reads_and_renders_without_framework_and_numpy(tmp_path):
    package = tmp_path / "dist" / "tiny_digits"
    package.mkdir(parents=True)
    data = json.loads((ROOT / "tests" / "data" / "manifest.json").read_text(encoding="utf-8"))
    (package / manifest.NAME).write_bytes(manifest.seal(data))
    evidence = package / "evidence"
    evidence.mkdir()
    (evidence / "predictions.csv").write_text("image,label,class1,logit1\na,0,0,1.0\n", encoding="utf-8")
    loaded = run_and_list_modules(command("verify") + "assert status == 1", tmp_path)
    assert "jinja2" in loaded  # the card was rendered
    assert not (HEAVY - {"jinja2"}) & loaded


def imports(path):
    """The modules that the source at ``path`` imports, anywhere in it but for type checking."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("hubpkg.runtime")])
def test_only_the_runtime_imports_frameworks(name):
    assert not {module.partition(".")[0] for module in imports(MODULES[name])} & RUNTIME_ONLY


def test_few_modules_call_the_runtime():
    callers = {
        name
        for name, path in MODULES.items()
        if not name.startswith("hubpkg.runtime") and any(m.startswith("hubpkg.runtime") for m in imports(path))
    }
    names = (
        "package",
        "job",
        "trainer",
        "evaluator",
        "hub",
        "checkpoint",
        "rerun",
        "benchmark",
        "conversion",
        "exporter",
        "extension",
    )
    assert callers == {f"hubpkg.{name}" for name in names}


def test_imports_go_one_way():
    # What hubpkg's root gives, errors and the version, is imported by all; it imports hub.load when that is called.
    graph = {name: set(imports(path)) & MODULES.keys() - {"hubpkg", name} for name, path in MODULES.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("hubpkg.errors") < order.index("hubpkg.documents") < order.index("hubpkg.card")
    assert order.index("hubpkg.package") < order.index("hubpkg.cli")


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda path: path.name)
def test_a_model_folder_needs_nothing_but_mindspore(path):
    outside = {module.partition(".")[0] for module in imports(path)} - sys.stdlib_module_names
    assert outside <= {"mindspore", "numpy", *(sibling.stem for sibling in path.parent.glob("*.py"))}
