"""An entry folder is run from the sources that were hashed, and leaves the process as it was."""

import linecache
import py_compile
import shutil
import sys
import types

import numpy as np
import pytest

from hubpkg import entrypoint
from hubpkg.errors import HubpkgError
from hubpkg.runtime import framework

CONF = "mindspore_hub_conf.py"
CELL = """
from mindspore import nn

class Network(nn.Cell):
    def construct(self, x):
        return x * FACTOR
"""


def write(folder, files):
    """Write the files of an entry folder; gives their bytes by their names, as the loader takes them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return {name: text.encode() for name, text in files.items()}


def load(folder, files, *arguments):
    """What create_network of an entry folder with these files returns."""
    with entrypoint.loaded(folder, write(folder, files)) as create_network:
        return create_network(*arguments)


def state():
    """What importing can change in a process, but for the lasting names of entry folders."""
    modules = {name: module for name, module in sys.modules.items() if not name.startswith("hubpkg_entry_")}
    return sys.path.copy(), sys.meta_path.copy(), sys.path_hooks.copy(), modules


def multiply(network, value):
    return float(network(framework.load().Tensor(np.array([value], np.float32))).asnumpy()[0])


def test_the_process_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before = state()
    files = {
        CONF: "import sys\nfrom src import number\nsys.path.insert(0, 'x')\ndef create_network(name):\n"
        "    import late\n    return number + late.number\n",
        "src.py": "number = 1\n",
        "late.py": "number = 2\n",
    }
    assert load(tmp_path, files, "any") == 3
    assert state() == before
    assert {path.name for path in tmp_path.iterdir()} == files.keys()


@pytest.mark.parametrize(
    ("conf", "error"),
    [
        ("import src\nraise KeyError('at import')\n", KeyError),
        ("import src\ndef create_network(name):\n    raise KeyError('in the call')\n", KeyError),
        ("import src, nowhere\n", ModuleNotFoundError),
        ("def create_network(name)\n", SyntaxError),
        ("import src\n", HubpkgError),
        ("create_network = 1\n", HubpkgError),
    ],
)
def test_the_process_is_left_as_it_was_by_errors_too(tmp_path, conf, error):
    before = state()
    with pytest.raises(error) as caught:
        load(tmp_path, {CONF: conf, "src.py": "import sys\nsys.path.append('x')\n"}, "any")
    assert state() == before
    if error is HubpkgError:
        assert str(caught.value) == f"{tmp_path / CONF}: expected a function create_network(name, ...), found none"


def test_a_module_that_was_imported_before_is_neither_used_nor_lost(tmp_path, monkeypatch):
    package, child = types.ModuleType("src"), types.ModuleType("src.net")
    monkeypatch.setitem(sys.modules, "src", package)
    monkeypatch.setitem(sys.modules, "src.net", child)
    files = {CONF: "from src.net import number\ndef create_network(name):\n    return number\n"}
    assert load(tmp_path, {**files, "src/__init__.py": "", "src/net.py": "number = 7\n"}, "any") == 7
    assert sys.modules["src"] is package
    assert sys.modules["src.net"] is child


def test_bytecode_in_the_folder_is_not_run(tmp_path):
    files = {CONF: "import src\ndef create_network(name):\n    return src.number\n", "src.py": "number = 1\n"}
    write(tmp_path, files)
    other = tmp_path / "other.py"
    other.write_text("number = 2\n", encoding="utf-8")
    # unchecked: Python runs it whatever the source is
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    cached = tmp_path / "__pycache__" / f"src.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(other, cfile=cached, invalidation_mode=mode)
    assert load(tmp_path, files, "any") == 1


def test_what_is_hashed_is_run_whatever_is_in_the_folder(tmp_path):
    sources = write(
        tmp_path, {CONF: "import src\ndef create_network(name):\n    return src.number\n", "src.py": "number = 1\n"}
    )
    write(tmp_path, {"src.py": "number = 2\n", "json.py": "raise AssertionError\n"})
    with entrypoint.loaded(tmp_path, sources) as create_network:
        assert create_network("any") == 1
        import json  # a file beside that was not hashed hides nothing

    assert json.loads("1") == 1
    shutil.rmtree(tmp_path)
    with entrypoint.loaded(tmp_path, sources) as create_network:
        assert create_network("any") == 1


def test_packages_in_the_folder_import_each_other_by_every_form(tmp_path):
    files = {
        CONF: "from src import net\nimport src.net as same\nimport src.deep.deeper\nfrom src.net import b as name\n"
        "def create_network(name):\n    return same is net, net.total, src.deep.deeper.b\n",
        "src/__init__.py": "from .a import one\nfrom . import a\n",
        "src/a.py": "one = 1\n",
        "src/b.py": "from src import a\nb = 10 * a.one\n",
        "src/net.py": "from . import b as other\nfrom .b import b\nfrom .deep import deeper\n"
        "total = other.b + deeper.b\n",
        "src/deep/__init__.py": "",
        "src/deep/deeper.py": "from .. import b as up\nfrom ..b import b\nassert up.b == b\n",
    }
    before = state()
    assert load(tmp_path, files, "any") == (True, 20, 10)
    assert state() == before


def test_an_entrypoint_may_load_another_one(tmp_path):
    inner = write(
        tmp_path / "inner",
        {CONF: "import src\ndef create_network(name):\n    return src.number\n", "src.py": "number = 1\n"},
    )
    outer = write(
        tmp_path / "outer",
        {CONF: "import src\ndef create_network(load):\n    return load(), src.number\n", "src.py": "number = 2\n"},
    )

    def load_inner():
        with entrypoint.loaded(tmp_path / "inner", inner) as create_network:
            return create_network("any")

    before = state()
    with entrypoint.loaded(tmp_path / "outer", outer) as create_network:
        assert create_network(load_inner) == (1, 2)
    assert state() == before


@pytest.mark.compat
def test_same_names_and_other_code_in_one_process(tmp_path, mode):
    """Each network runs its own code, its siblings' too, when all are compiled after the last was loaded."""
    conf = "from src import net\ndef create_network(name):\n    return net.Network()\n"
    cell = "from . import helper\nfrom .helper import triple\n" + CELL.replace(
        "FACTOR", "FACTOR + triple(x) + helper.triple(x)"
    )

    def files(factor):
        helper = f"def triple(x):\n    return x * {factor}\n"
        return {
            CONF: conf,
            "src/__init__.py": "",
            "src/net.py": cell.replace("FACTOR", str(factor)),
            "src/helper.py": helper,
        }

    framework.load()
    factors = [2, 3, 4, 5]
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path / "c"]  # the last takes another's place
    networks = [load(folder, files(factor), "any") for folder, factor in zip(folders, factors, strict=True)]
    for name in ("graph", "pynative"):
        mode(name)
        assert [multiply(network, 10.0) for network in networks] == [30.0 * factor for factor in factors]


def test_graph_mode_compiles_what_was_hashed(tmp_path, mode):
    """Though the file is changed, or gone, before the first call compiles it."""
    framework.load()
    conf = "import net\ndef create_network(name):\n    return net.Network()\n"
    files = {CONF: conf, "net.py": CELL.replace("FACTOR", "2")}
    networks = [load(tmp_path / name, files, "any") for name in ("a", "b")]
    (tmp_path / "a" / "net.py").write_text("\n" + CELL.replace("FACTOR", "9"), encoding="utf-8")
    shutil.rmtree(tmp_path / "b")
    linecache.checkcache()
    mode("graph")
    assert [multiply(network, 10.0) for network in networks] == [20.0, 20.0]
