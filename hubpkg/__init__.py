"""A MindSpore Hub card as a set of proven claims: build a package, verify it, load it."""

import importlib
from typing import TYPE_CHECKING, Any

from hubpkg.errors import HubpkgError

if TYPE_CHECKING:
    from hubpkg.cache import get_hub_dir, set_hub_dir
    from hubpkg.hub import load, load_weights

__all__ = ["HubpkgError", "__version__", "get_hub_dir", "load", "load_weights", "set_hub_dir"]
__version__ = "0.1.0"
_MODULES = {"load": "hub", "load_weights": "hub", "get_hub_dir": "cache", "set_hub_dir": "cache"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # imported when it is used, so that the command line starts quickly
        return getattr(importlib.import_module(f"hubpkg.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'hubpkg' has no attribute {name!r}")
