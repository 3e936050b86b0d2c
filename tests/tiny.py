"""A package that verifies, made in milliseconds of values that nobody measured: for what happens to packages later."""

import json
from dataclasses import asdict
from pathlib import Path

from hubpkg import assembly, manifest, performance, predictions, verification
from hubpkg.performance import Conditions, Parameter, Timing, Timings
from hubpkg.predictions import Prediction

ROOT = Path(__file__).parents[1]
_CONDITIONS = Conditions(2, 1.0, 0.0, 0.1, 0.1, 0, 0)


def make(folder, **card):
    """Put the package into ``folder``; its card's fields are those of tests/data/manifest.json, or these."""
    contents = json.loads((ROOT / "tests" / "data" / "manifest.json").read_text(encoding="utf-8"))
    contents["card"] |= {key.replace("_", "-"): value for key, value in card.items()}
    fields = contents["card"]
    contents["uid"] = f"{fields['publisher']}/{fields['model-version']}/{contents['package']}"
    package = folder / contents["package"]
    entry = package / contents["entry"]
    (entry / "recipes").mkdir(parents=True)
    (entry / "mindspore_hub_conf.py").write_text("def create_network(name):\n    raise NotImplementedError(name)\n")
    (package / "evidence").mkdir()
    weights = package / "weights"
    weights.write_bytes(b"the weights\n" * 100_000)
    sha256 = manifest.record(weights).sha256
    contents["checkpoint"] = {"file": f"tiny-{sha256[:8]}.ckpt", "sha256": sha256, "source": "file"}
    weights.rename(package / contents["checkpoint"]["file"])
    rows = [Prediction(f"image{i}", i % 10, (0, 1, 2, 3, 4), (9.0, 7.0, 5.0, 3.0, 1.0), -1.0) for i in range(20)]
    predictions.write(package / predictions.FILE, rows)
    timing = Timing("mindspore", 1, 1, 32, "O0", "float32", 1.5, 3, [2.0] * 20, _CONDITIONS)
    steps = Timing("mindspore", 1, 64, 32, "O0", "float32", 1.5, 3, [20.0] * 20, _CONDITIONS)
    performance.write_timings(package / performance.TIMING, Timings(steps, [timing]))
    performance.write_parameters(
        package / performance.PARAMETERS, [Parameter("weight", (2, 2), "Float32", trainable=True)]
    )
    contents["inputs"]["data"] = {"test": {**contents["inputs"]["data"]["test"], "images": 20}}
    contents["evaluation"] |= verification.evaluation_of(package)
    contents["performance"] = verification.performance_of(package)
    del contents["files"]
    assembly.finish(package, contents)
    assert [asdict(check) for check in verification.verify(package).checks if not check.ok] == []
    return package
