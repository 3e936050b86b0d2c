"""A package's entrypoint, ``mindspore_hub_conf.py``: read, and loaded by path from the source that was hashed."""

import ast
import errno
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from hubpkg.errors import HubpkgError

FILE = "mindspore_hub_conf.py"
FUNCTION = "create_network"
DEFAULTS = "create_network.json"  # the default arguments of create_network in a package, beside FILE

_LOADING = threading.RLock()  # a package may load another one


def check(source: bytes, name: str) -> None:
    """Read, without running it, whether ``source`` defines ``create_network(name, ...)`` as the hub calls it.

    Raises:
        HubpkgError: it does not; says what it has instead.
    """
    try:
        with warnings.catch_warnings():  # Python warns of some sources that are right all the same
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise HubpkgError(f"{name}: expected Python source, found: {error}") from None
    except (MemoryError, RecursionError):  # what the parser raises, whatever memory there is
        raise HubpkgError(f"{name}: expected Python source, found expressions nested too deep to be read") from None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == FUNCTION]
    if not found:
        raise HubpkgError(f"{name}: expected a function {FUNCTION}(name, ...), found none")
    arguments = found[-1].args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    keywords = [a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
    if not (positional or arguments.vararg) or required > 1 or keywords:
        raise HubpkgError(
            f"{name}:{found[-1].lineno}: expected {FUNCTION} to need one argument, the model's name, "
            f"found {FUNCTION}({ast.unparse(arguments)})"
        )


@contextmanager
def loaded(folder: Path, sources: Mapping[str, bytes]) -> Iterator[Callable[..., Any]]:
    """The function ``create_network`` of the entry folder ``folder``, as :func:`imported` runs it.

    Raises:
        HubpkgError: there is no such function.
    """
    with imported(folder, sources, Path(FILE).stem) as module:
        function = getattr(module, FUNCTION, None)
        if not callable(function):
            raise HubpkgError(f"{folder / FILE}: expected a function {FUNCTION}(name, ...), found none")
        yield function


@contextmanager
def imported(folder: Path, sources: Mapping[str, bytes], name: str) -> Iterator[ModuleType]:
    """The module ``name`` of the entry folder ``folder``, run from ``sources``.

    Inside the context the folder's modules import each other by their plain names. After it those names, and
    ``sys.path``, are what they were; the modules stay in ``sys.modules`` under names of this folder's own, where
    MindSpore's graph mode looks their source up. Nothing is read from the folder and no bytecode is written.

    Args:
        folder: the folder, for the modules' ``__file__``.
        sources: the folder's files by their names in it.
        name: of the module.
    """
    finder = _SourceFinder(folder, sources)
    with _LOADING:
        path = sys.path.copy()
        shadowed = {name: sys.modules.pop(name) for name in list(sys.modules) if finder.owns(name)}
        sys.meta_path.insert(0, finder)
        try:
            yield importlib.import_module(name)
        finally:
            sys.meta_path.remove(finder)
            for owned in [module for module in sys.modules if finder.owns(module)]:
                del sys.modules[owned]
            sys.modules.update(shadowed)
            sys.path[:] = path


class _EntryModule(ModuleType):
    """A module that the import system, while it loads the folder, knows by its plain name, and all else by its own."""

    @property
    def __name__(self) -> str:  # type: ignore[override]
        plain = self.__spec__.name if self.__spec__ else None
        return plain if plain and sys.modules.get(plain) is self else str(self.__dict__["__name__"])


class _SourceFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of one entry folder in the bytes that were hashed."""

    def __init__(self, folder: Path, sources: Mapping[str, bytes]) -> None:
        self._folder = folder.absolute()
        self._sources = sources
        self._modules = {
            name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name
            for name in sources
            if name.endswith(".py")
        }
        identity = hashlib.sha256(str(self._folder).encode())
        for name, source in sorted(sources.items()):
            identity.update(name.encode() + b"\0" + hashlib.sha256(source).digest())
        self._prefix = f"hubpkg_entry_{identity.hexdigest()[:16]}"

    def owns(self, module: str) -> bool:
        """Whether a module of that name is this folder's."""
        return module.split(".", maxsplit=1)[0] in {name.split(".")[0] for name in self._modules}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        file = self._modules[fullname]
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin=str(self._folder / file), is_package=file.endswith("__init__.py")
        )
        spec.has_location = True
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _EntryModule(spec.name)

    def get_data(self, path: str) -> bytes:
        """The bytes of the folder's file at ``path``, as they were hashed (importlib's ResourceLoader)."""
        try:
            return self._sources[Path(path).relative_to(self._folder).as_posix()]
        except (KeyError, ValueError):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None  # noqa: S101 - the import system sets it
        assert spec.origin is not None  # noqa: S101 - find_spec sets it
        source = self._sources[self._modules[spec.name]]
        # Under its own name for good: classes and functions of the module carry it, and graph mode looks there.
        name = f"{self._prefix}.{spec.name}"
        module.__dict__["__name__"] = name
        sys.modules[name] = module
        # Graph mode compiles from the text that linecache holds; without a time it is never read again from disk.
        lines = importlib.util.decode_source(source).splitlines(keepends=True)
        file, cache = spec.origin, cast("dict[str, Any]", linecache.cache)
        while len(entry := cache.get(file, ())) > 1 and entry[2] != lines:
            # Another version was loaded from here, and its cells may not be compiled yet: spell the path differently.
            file = f"{self._folder}/.{file.removeprefix(str(self._folder))}"
        cache[file] = (len(source), None, lines, file)
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
