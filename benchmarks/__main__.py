"""All the benchmarks, in one run: ``python benchmarks [PACKAGE]`` (see fetch.py and load.py for what they need)."""

import sys

import fetch
import load

package = sys.argv[1:]
sys.argv[1:] = []
fetch.main()
sys.argv[1:] = package
load.main()
