"""hubpkg.load of a built package against MindCV's create_model plus load_checkpoint, of the same network.

MindCV's takes images of three channels, as it knows no others, which makes its checkpoint a little larger. Prints the
ratio of the median times in one process, where the two take turns; hashing is included in hubpkg's, and the import of
the frameworks in neither's. Needs MindCV, and a package made with ``hubpkg build xcit_tiny_12_p16_224``.

python benchmarks/load.py [PACKAGE] [--runs N]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import mindcv
import mindspore

import hubpkg


def seconds(call):
    """How long ``call`` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", nargs="?", type=Path, default=Path("dist/xcit_tiny_12_p16_224_digits"))
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    contents = json.loads((options.package / "hubpkg.json").read_text(encoding="utf-8"))
    classes, weights = contents["inputs"]["recipe"]["num_classes"], options.package / contents["checkpoint"]["file"]

    def make():
        return mindcv.create_model(contents["model"], num_classes=classes)

    def by_mindcv():
        mindspore.load_param_into_net(make(), mindspore.load_checkpoint(saved))

    def by_hubpkg():
        hubpkg.load(options.package)

    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder, "mindcv.ckpt"))
        mindspore.save_checkpoint(make(), saved)
        by_mindcv()
        by_hubpkg()
        pairs = [(seconds(by_mindcv), seconds(by_hubpkg)) for _ in range(options.runs)]
    mindcv_seconds, hubpkg_seconds = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"MindCV: {1000 * mindcv_seconds:.0f} ms, median of {options.runs}")
    print(f"hubpkg: {1000 * hubpkg_seconds:.0f} ms, hashing of {weights.stat().st_size:,} bytes included")
    print(f"time of hubpkg to MindCV: {hubpkg_seconds / mindcv_seconds:.2f} (promised: at most 1.25)")


if __name__ == "__main__":
    main()
