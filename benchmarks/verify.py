"""Static verification against ``openssl dgst -sha256``, on a package whose checkpoint has 5 GB of random bytes.

Prints the ratio of the rates of hashing, medians of the runs, in which the two take turns: what ``hubpkg verify`` takes
beyond the package as it was built is hashing, as all else is the same. The rate is told by the clock and by CPU time,
which a machine that is not quiet disturbs less. Then its peak memory, and the time of the whole command, start
included, on the package as it was built. Needs openssl, 6 GB of free space, as much memory for the page cache, and a
package made with ``hubpkg build xcit_tiny_12_p16_224``.

python benchmarks/verify.py [PACKAGE] [--runs N] [--gigabytes N]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hubpkg import assembly, manifest


def run(command):
    """Wall seconds, CPU seconds and peak memory in MB of ``command``, which must end well."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} ended with status {process.returncode}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def enlarge(package, gigabytes):
    """Give the package in the folder ``package`` a checkpoint of that size, and a manifest and card that fit."""
    contents = json.loads((package / manifest.NAME).read_bytes())
    del contents["digests"]
    checkpoint = package / contents["checkpoint"]["file"]
    block = os.urandom(1_000_000)
    with checkpoint.open("wb") as file:
        for _ in range(1000 * gigabytes):
            file.write(block)
    sha256 = manifest.record(checkpoint).sha256
    contents["checkpoint"] |= {"file": f"{contents['model']}-{sha256[:8]}.ckpt", "sha256": sha256}
    checkpoint = checkpoint.rename(package / contents["checkpoint"]["file"])
    assembly.finish(package, contents)
    return checkpoint


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", nargs="?", type=Path, default=Path("dist/xcit_tiny_12_p16_224_digits"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--gigabytes", type=int, default=5)
    options = parser.parse_args()
    verify = [str(Path(sys.executable).with_name("hubpkg")), "verify"]
    with tempfile.TemporaryDirectory() as temporary:
        large = Path(shutil.copytree(options.package, Path(temporary, options.package.name)))
        checkpoint = enlarge(large, options.gigabytes)
        runs = [
            (run([*verify, options.package]), run(["openssl", "dgst", "-sha256", checkpoint]), run([*verify, large]))
            for _ in range(options.runs)
        ]
    size = 1000 * options.gigabytes
    for index, told in enumerate(("by the clock", "by CPU time")):
        start, openssl, hubpkg = (statistics.median(part[index] for part in parts) for parts in zip(*runs, strict=True))
        hashing = hubpkg - start
        print(f"openssl: {size / openssl:6.0f} MB/s {told}; hubpkg: {size / hashing:6.0f} MB/s, start and checks aside")
        print(f"rate of hubpkg to openssl {told}: {openssl / hashing:.2f} (promised: at least 0.95)")
    print(f"peak memory: {max(parts[2][2] for parts in runs):.0f} MB (promised: under 100)")
    clock, cpu = (statistics.median(parts[0][index] for parts in runs) for index in (0, 1))
    print(f"{options.package.name}: {1000 * clock:.0f} ms, of which {1000 * cpu:.0f} ms of CPU (promised: under 400)")


if __name__ == "__main__":
    main()
