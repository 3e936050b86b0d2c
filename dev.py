"""Sets up what constraints.txt locks, then runs hubpkg or its tests. Needs Python 3.11 or 3.12, on Linux or macOS.

python3 dev.py hubpkg ARGS...           run hubpkg with MindSpore 2.8.0, in .venv
python3 dev.py test [PYTEST ARGS...]    run ruff, mypy and pytest, in .venv
python3 dev.py compat [PYTEST ARGS...]  run the tests marked compat with MindSpore 2.10.0, in .venv-2.10
python3 dev.py docs                     make the site of docs/ in build/site, in .venv
python3 dev.py manual                   print docs/hubpkg.1, the manual page
python3 dev.py faults                   print docs/faults.md: what goes wrong, and what happens then
python3 dev.py forgeries                print docs/forgeries.md: what is forged, and what finds it
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    sys.exit(f"dev.py needs Python 3.11 or 3.12, as MindSpore 2.8.0 does; found {sys.version.split()[0]}")

import tomllib

ROOT = Path(__file__).resolve().parent
# Set: its folder, what it is made of (extras and groups of pyproject.toml), MB to download as measured on x86_64 Linux.
SETS = {
    "build": (".venv", ["setup", "plain", "build"], 865),
    "dev": (".venv", ["setup", "plain", "build", "onnxruntime", "s3", "sign", "dev"], 1060),
    "compat": (".venv-2.10", ["setup", "plain", "runtime", "onnxruntime", "s3", "sign", "test", "compat"], 989),
}


def main(arguments: list[str]) -> int:
    """Does what the command line says, and returns the exit status."""
    command, *rest = arguments or [""]
    if command == "hubpkg":
        hubpkg = str(set_up("build") / "hubpkg")
        os.execv(hubpkg, [hubpkg, *rest])
    if command == "test":
        # pytest runs last, so that its closing line ends the output.
        whole = ["--numprocesses=2", "--dist=loadfile"]
        tools = [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", *(rest or whole)]]
        commands = set_up("dev")
        return max([run(commands / tool, *options) for tool, *options in tools])
    if command == "docs":
        return run(set_up("dev") / "mkdocs", "build", "--strict", *rest)
    if command == "manual":
        return run(set_up("dev") / "python", "docs/hooks.py")
    if command in ("faults", "forgeries"):
        return run(set_up("dev") / "python", f"tests/{command}.py")
    if command == "compat":
        return run(set_up("compat") / "pytest", "-m", "compat", *rest)
    print(__doc__, end="", file=sys.stderr)
    return 2


def run(command: Path, *arguments: str) -> int:
    """Runs a command to its end in the project's folder, and returns its exit status."""
    process = subprocess.Popen([command, *arguments], cwd=ROOT)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the interrupt reached it too: let it close its work
        raise
    return status if status >= 0 else 128 - status


def set_up(name: str) -> Path:
    """Installs a set where that is not done yet, and returns the folder of its commands."""
    folder, parts, megabytes = SETS[name]
    venv = ROOT / folder
    stamp = venv / "set-up"
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt", ROOT / "constraints-2.10.txt"]
    inputs = f"{sys.version}\n{ROOT}\n" + "\n".join(file.read_text(encoding="utf-8") for file in files)
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    # A second dev.py waits here. pip inherits the lock: it is held until pip has ended, however this process ends.
    with (ROOT / f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = stamp.read_text(encoding="utf-8").split() if stamp.exists() else []
        if done in ([digest, name], [digest, "dev"]):
            return venv / "bin"
        print(f"setting up {folder} (about {megabytes} MB, some minutes)...", file=sys.stderr)
        if digest in done:
            stamp.unlink()
        else:
            mark = venv / "made-by-dev.py"
            if venv.exists() and not (mark.exists() or stamp.exists()):
                sys.exit(f"{venv}: expected none, or one that dev.py made, found another; move it away")
            shutil.rmtree(venv, ignore_errors=True)
            venv.mkdir()
            mark.touch()
            quietly(lock.fileno(), sys.executable, "-m", "venv", venv)
        install(lock.fileno(), venv, name, parts)
        stamp.write_text(f"{digest} {name}\n", encoding="utf-8")
    return venv / "bin"


def install(lock: int, venv: Path, name: str, parts: list[str]) -> None:
    """Installs the parts of a set into its folder, and hubpkg as an editable install."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tables = {
        "plain": pyproject["project"]["dependencies"],
        **pyproject["project"]["optional-dependencies"],
        **pyproject["dependency-groups"],
    }
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    if name == "compat":
        newer = (ROOT / "constraints-2.10.txt").read_text(encoding="utf-8")
        pins = pins.replace(pin("mindspore", pins), pin("mindspore", newer))
    constraints = venv / "constraints.txt"
    constraints.write_text(pins, encoding="utf-8")
    pip_alone = venv / "pip.txt"
    pip_alone.write_text(pin("pip", pins), encoding="utf-8")
    pip: list[str | Path] = [venv / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    needed = [requirement for part in parts for requirement in expand(part, tables)]
    # The pip that comes with Python 3.11 takes no hashes from constraints, so the locked pip comes first.
    quietly(lock, *pip, "--no-deps", "--require-hashes", "-r", pip_alone)
    quietly(lock, *pip, "--require-hashes", "-c", constraints, *needed)
    quietly(lock, *pip, "--no-deps", "--no-build-isolation", "-e", ROOT)


def pin(name: str, pins: str) -> str:
    """The lines of constraints that pin one distribution."""
    (lines,) = re.findall(rf"^{name}==.*\n(?: +.*\n)+", pins, re.MULTILINE)
    return str(lines)


def expand(part: str, tables: dict[str, Any]) -> Iterator[str]:
    """The requirements of an extra or group, and of those that it includes."""
    for requirement in tables[part]:
        if isinstance(requirement, dict):
            yield from expand(requirement["include-group"], tables)
        elif requirement.startswith("hubpkg["):
            yield from expand(requirement.removeprefix("hubpkg[").removesuffix("]"), tables)
        else:
            yield requirement


def quietly(lock: int, *command: str | Path) -> None:
    """Runs a command of the set-up, which is heard only where it fails."""
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[lock], check=False)
    if ended.returncode:
        sys.stderr.buffer.write(ended.stdout)
        print(f"the set-up failed (status {ended.returncode}): {' '.join(map(str, command))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
