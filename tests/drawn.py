"""Packages whose evidence is drawn by a seed, and cards: they verify, and no framework was needed to make them."""

import hashlib
import json
import math
import random
from pathlib import Path

from hubpkg import assembly, performance, predictions, trained, verification
from hubpkg.performance import Conditions, Parameter, Timing, Timings
from hubpkg.predictions import Prediction

MANIFEST = Path(__file__).with_name("data") / "manifest.json"
CONDITIONS = Conditions(2, 1.0, 0.0, 0.5, 0.5, 0, 0)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20"/></svg>\n'
CARD = """# {name}

---

model-name: {name}

backbone-name: {name}

module-type: {task}

fine-tunable: True

train-dataset: {dataset}

evaluation: {evaluation}

author: A

update-time: {day}

license: Apache-2.0

summary: {summary}

---

## Introduction

{text}
"""


def package(  # noqa: PLR0913 - what may differ
    folder, *, name="tiny_digits", publisher="lab", classes=10, images=360, right=0.9, change=lambda _: None
):
    """Make the package ``name`` in ``folder``; ``change`` may change what the manifest says of its card first."""
    made = folder / name
    generator = random.Random(f"{name} {classes}")  # noqa: S311 - the same each time is what is wanted
    contents = json.loads(MANIFEST.read_text(encoding="utf-8"))
    model, _, dataset = name.rpartition("_")
    contents |= {"uid": f"{publisher}/2.8/{name}", "package": name, "model": model, "dataset": dataset}
    contents["inputs"]["recipe"] |= {"model": model, "num_classes": classes}
    contents["inputs"]["data"]["test"]["images"] = images
    change(contents["card"])
    for part in ("evidence", contents["entry"]):
        (made / part).mkdir(parents=True)
    weights = generator.randbytes(1024)
    sha256 = hashlib.sha256(weights).hexdigest()
    contents["checkpoint"] |= {"file": f"{model}-{sha256[:8]}.ckpt", "sha256": sha256}
    entry = made / contents["entry"]
    (made / contents["checkpoint"]["file"]).write_bytes(weights)
    conf = "def create_network(name, *args, **kwargs):\n    raise NotImplementedError\n"
    (entry / "mindspore_hub_conf.py").write_text(conf, encoding="utf-8")
    for picture in ("tiny.svg", "training.svg"):
        (entry / picture).write_text(SVG, encoding="utf-8")
    predictions.write(made / predictions.FILE, (_prediction(generator, i, classes, right) for i in range(images)))
    performance.write_timings(made / performance.TIMING, _timings(generator))
    performance.write_parameters(made / performance.PARAMETERS, [Parameter("w", (300, 642), "Float32", trainable=True)])
    write_training(made, contents)
    contents["evaluation"] |= verification.evaluation_of(made)
    contents["performance"] = verification.performance_of(made)
    assembly.finish(made, contents)
    found = verification.verify(made)
    assert found.ok, found.checks
    return made


def _prediction(generator, index, classes, right):
    label = index % classes
    known = min(classes, predictions.TOP_K)
    others = [each for each in generator.sample(range(classes), min(classes, known + 1)) if each != label][: known - 1]
    order = [label, *others]
    if generator.random() > right:
        generator.shuffle(order)
    logits = sorted((generator.gauss(0, 2) for _ in range(known + (classes > known))), reverse=True)
    logits[0] += generator.uniform(0, 3)
    rounded = tuple(round(logit, 4) for logit in logits)
    others = (classes - len(rounded)) * math.exp(rounded[-1] - 6)  # far below those that are known
    log_sum = round(math.log(sum(map(math.exp, rounded)) + others), 4)
    return Prediction(f"{index:04d}", label, tuple(order), rounded[:known], *(rounded[known:] or [None]), log_sum)


def _timings(generator):
    def timing(batch_size, count):
        ms = tuple(round(batch_size**0.5 * generator.lognormvariate(1.5, 0.12), 3) for _ in range(count))
        return Timing("mindspore", 1, batch_size, 32, "O0", "float32", 4.2, 3, ms, CONDITIONS)

    return Timings(timing(64, 60), [timing(1, 100), timing(16, 50), timing(64, 50)])


def write_training(made, contents):
    """The log of a training whose loss falls, with its record."""
    lines = []
    for step in range(1, 61):
        loss = 2.3 * 0.96**step + 0.05 * (step % 3)
        lines.append({"step": step, "epoch": (step + 19) // 20, "loss": loss, "lr": 1e-3 * (1 - step / 61), "ms": 20.0})
        if step % 20 == 0:
            lines.append({"step": step, "epoch": step // 20, "validation": {"weights": {"top1": 60.0 + step / 2}}})
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (made / "evidence" / trained.LOG).write_text(text, encoding="utf-8")
    (made / "evidence" / trained.CURVES).write_text(SVG, encoding="utf-8")
    record = {"steps": 60, "recipe": contents["inputs"]["recipe"], "data": contents["inputs"]["data"]}
    record |= {"start": None, "averaged": False}
    (made / "evidence" / trained.RECORD).write_text(json.dumps(record), encoding="utf-8")


def card(folder, path, **given):
    """Write a card without a package into ``folder``."""
    file = folder / f"{path}.md"
    values = {
        "name": file.stem,
        "task": "cv",
        "dataset": "cifar10",
        "evaluation": "top1acc70.50",
        "day": "2024-02-03",
        "summary": "A network",
        "text": "It is small.",
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CARD.format(**values | given), encoding="utf-8")
    return file
