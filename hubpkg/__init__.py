"""A MindSpore Hub card as a set of proven claims: build a package, verify it, load it."""

from typing import Any

__all__ = ["HubpkgError", "__version__", "load"]
__version__ = "0.1.0"

from hubpkg.errors import HubpkgError


def load(name: str, *args: Any, source: str = "local", pretrained: bool = True, **kwargs: Any) -> Any:
    """Load the network of a package; see :func:`hubpkg.hub.load`."""
    from hubpkg import hub

    return hub.load(name, *args, source=source, pretrained=pretrained, **kwargs)
