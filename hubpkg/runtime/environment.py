"""The machine and the software that a measurement was made with."""

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hubpkg
from hubpkg import manifest
from hubpkg.runtime import framework


def capture() -> dict[str, Any]:
    """The environment, as JSON values; read from files, without importing MindSpore.

    The Ascend entries are None where there is no such driver, firmware or toolkit.
    """
    return {
        "hubpkg": hubpkg.__version__,
        "mindspore": framework.version(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "os": _os_name(),
        "ascend_driver": _version_file(Path("/usr/local/Ascend/driver/version.info")),
        "ascend_firmware": _version_file(Path("/usr/local/Ascend/firmware/version.info")),
        "cann": _version_file(
            Path(os.environ.get("ASCEND_HOME_PATH", "/usr/local/Ascend/ascend-toolkit/latest"), "version.cfg")
        ),
    }


def commit() -> str | None:
    """The commit that hubpkg runs from, with ``-dirty`` where files differ from it; None outside its own checkout."""
    here = Path(__file__)
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:  # another project's, around an install
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def lock() -> str | None:
    """SHA-256 of the lock file of the checkout that hubpkg runs from; None outside its own checkout."""
    file = Path(__file__).parents[2] / "constraints.txt"
    return manifest.record(file).sha256 if file.is_file() and commit() is not None else None


def packages() -> dict[str, str]:
    """The versions of what is installed of all that hubpkg can need to build, by name."""
    found: dict[str, str] = {}
    waiting = [("hubpkg", frozenset(("build", "runtime", "onnxruntime")))]
    while waiting:
        name, extras = waiting.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of an extra that is not installed
            continue
        if name != "hubpkg":
            found[canonicalize_name(name)] = distribution.version
        for requirement in map(Requirement, distribution.requires or ()):
            wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            needed = requirement.marker is None or any(map(requirement.marker.evaluate, wanted))
            if needed and canonicalize_name(requirement.name) not in (*found, "hubpkg"):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - our own
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()


def _os_name() -> str:
    if sys.platform == "linux":
        try:
            return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}"
        except (OSError, KeyError):
            pass
    return f"{platform.system()} {platform.release()}"


def _version_file(path: Path) -> str | None:
    try:
        match = re.search(r"version\s*=\s*\[?(?:[^:\]\n]*:)?([\w.]+)", path.read_text(encoding="utf-8"), re.IGNORECASE)
    except (OSError, UnicodeDecodeError):
        return None
    return match[1] if match else None
