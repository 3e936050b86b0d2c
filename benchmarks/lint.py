"""hubpkg lint of a folder of cards against the validator of MindSpore Hub, and the time of small commands.

Each is a process of its own, start-up included, and they take turns, so that the ratios hold on a busy machine. The
validator's requests for links are answered without a network, and MindSpore, which its package imports and its
validator does not use, is left out, in its favour. Needs the folder of cards, a checkout of mindspore-ai/hub and, for
the validator, a Python with PyYAML and mistune 0.8.4.

python benchmarks/lint.py CARDS HUB [--hub-python FILE] [--runs N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The validator, over a folder: it stops at the first card that is not YAML, so that each card is called on its own.
VALIDATOR = """
import contextlib, io, os, pathlib, sys, types
for name in ("mindspore_hub", "mindspore_hub._utils"):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [os.path.join(sys.argv[1], *name.split("."))]
from mindspore_hub._utils.check import ValidMarkdown
ValidMarkdown._validate_repo_link = lambda self, link: None
for path in sorted(pathlib.Path(sys.argv[2]).rglob("*.md")):
    with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(io.StringIO()):
        ValidMarkdown(str(path)).check_markdown_file()
"""
# Compiled modules are kept, as those of an installed package are.
ENVIRONMENT = {**os.environ, "PYTHONUTF8": "1", "PYTHONPYCACHEPREFIX": tempfile.gettempdir() + "/hubpkg-benchmark"}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)
PROMISED = {"ratio": 3, "version": 0.120, "card": 0.250}


def seconds(command):
    """How long ``command`` takes; its findings are no failure, and a traceback is."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, env=ENVIRONMENT)
    taken = time.perf_counter() - start
    if done.returncode not in (0, 1) or b"Traceback" in done.stderr:
        sys.exit(f"{command[:4]}: {done.stderr.decode()}")
    return taken


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cards", type=Path)
    parser.add_argument("hub", type=Path, help="a checkout of mindspore-ai/hub")
    parser.add_argument("--hub-python", default=sys.executable, help="one that has PyYAML and mistune 0.8.4")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    count = sum(1 for _ in options.cards.rglob("*.md"))
    first = next(path for path in sorted(options.cards.rglob("*.md")))
    hubpkg = [sys.executable, "-m", "hubpkg"]
    commands = {
        "validator": [options.hub_python, "-c", VALIDATOR, options.hub, options.cards],
        "lint": [*hubpkg, "lint", "--format", "json", options.cards],
        "version": [*hubpkg, "--version"],
        "card": [*hubpkg, "lint", first],
        "python": [sys.executable, "-c", ""],
    }
    for command in commands.values():
        seconds(command)  # compiles, and fills the system's cache of files
    rounds = [{name: seconds(command) for name, command in commands.items()} for _ in range(options.runs)]
    times = {name: statistics.median(taken[name] for taken in rounds) for name in commands}
    ratio = statistics.median(taken["validator"] / taken["lint"] for taken in rounds)
    print(f"{count:,} cards, median of {options.runs} turns")
    print(f"the hub's validator: {count / times['validator']:,.0f} cards/s")
    print(f"hubpkg lint:         {count / times['lint']:,.0f} cards/s, all rules, start-up included")
    print(f"ratio: {ratio:.2f} (promised: at least {PROMISED['ratio']})")
    print(f"hubpkg --version: {1000 * times['version']:.0f} ms (promised: under {1000 * PROMISED['version']:.0f})")
    print(f"one card: {1000 * times['card']:.0f} ms (promised: under {1000 * PROMISED['card']:.0f})")
    print(f"python that does nothing: {1000 * times['python']:.0f} ms")
    print(json.dumps({"ratio": round(ratio, 3), **{name: round(taken, 4) for name, taken in times.items()}}))


if __name__ == "__main__":
    main()
