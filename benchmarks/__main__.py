"""All the benchmarks, in one run; each script says what it needs, and can be run by itself."""

import argparse
import subprocess
import sys
from pathlib import Path

parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
parser.add_argument("package", nargs="?", help="for load.py and verify.py (default: that of digits in dist/)")
parser.add_argument("--timm", metavar="PYTHON", help="the interpreter of an environment with timm")
parser.add_argument("--long", action="store_true", help="evaluate 50,000 photos too, to compare peak memory")
options = parser.parse_args()
timm = ["--timm", options.timm] if options.timm else []
package = [options.package] if options.package else []
evaluated = [*timm, "--long"] if options.long else timm
# Each in a process of its own: what one imports must not count as the other's memory.
scripts = {
    "fetch.py": [],
    "load.py": package,
    "verify.py": package,
    "input.py": [],
    "training.py": timm,
    "evaluation.py": evaluated,
}
for script, arguments in scripts.items():
    subprocess.run([sys.executable, "-W", "ignore", Path(__file__).with_name(script), *arguments], check=True)
