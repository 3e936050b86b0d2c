"""All the benchmarks, in one run: ``python benchmarks [PACKAGE]`` (see fetch.py and load.py for what they need)."""

import subprocess
import sys
from pathlib import Path

# Each in a process of its own: what one imports must not count as the other's memory.
for script, arguments in (("fetch.py", []), ("load.py", sys.argv[1:])):
    subprocess.run([sys.executable, "-W", "ignore", Path(__file__).with_name(script), *arguments], check=True)
