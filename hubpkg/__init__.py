"""A MindSpore Hub card as a set of proven claims: build a package, verify it, load it."""

from typing import TYPE_CHECKING, Any

from hubpkg.errors import HubpkgError

if TYPE_CHECKING:
    from hubpkg.hub import load

__all__ = ["HubpkgError", "__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":  # imported when it is used, so that the command line starts quickly
        from hubpkg.hub import load

        return load
    raise AttributeError(f"module 'hubpkg' has no attribute {name!r}")
