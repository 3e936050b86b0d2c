"""Where the files shipped with hubpkg are: in the package when installed from a wheel, beside it in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """The folder ``name`` (``schemas`` or ``models``) that came with this hubpkg."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
