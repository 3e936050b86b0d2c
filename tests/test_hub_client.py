"""A package loads in the hub's client as it stands, and cards have the form that the hub's cards have."""

import re
import subprocess
import sys
from pathlib import Path

import hub_client
import numpy as np
import pytest
from forging import read_manifest

from hubpkg import card, documents, predictions, spec
from hubpkg.runtime import datasets

CONSUMER = """
import sys
from pathlib import Path

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("hubpkg", "mindcv"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Forbidden())
tests, card, folder = sys.argv[1:]
sys.path.insert(0, tests)
import hub_client

network = hub_client.load(card).set_train(False)
assert Path(sys.path[0]) == Path(card).parent / "xcit_small"
assert not [name for name in sys.modules if "mindspore_hub_conf" in name]
import mindspore
import numpy as np

images = mindspore.Tensor(np.load(f"{folder}/images.npy"))
for mode in (mindspore.GRAPH_MODE, mindspore.PYNATIVE_MODE):
    mindspore.set_context(mode=mode)
    np.save(f"{folder}/logits{mode}.npy", network(images).asnumpy())
"""


@pytest.mark.compat
def test_the_package_gives_its_predictions_from_its_path_alone(package, tmp_path):
    recipe = read_manifest(package)["inputs"]["recipe"]
    images = datasets.find("digits").read("test", None)
    batches = datasets.pipeline(images, recipe, len(images))
    batch, _ = next(batches.create_tuple_iterator(num_epochs=1, output_numpy=True))
    np.save(tmp_path / "images.npy", batch)
    command = [sys.executable, "-c", CONSUMER, Path(__file__).parent, package / "xcit_small_digits.md", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stored = list(predictions.read(package / predictions.FILE))
    for file in sorted(tmp_path.glob("logits*.npy")):
        logits = np.load(file)
        assert logits.shape == (len(stored), 10)
        found = [row[list(prediction.classes)] for row, prediction in zip(logits, stored, strict=True)]
        np.testing.assert_allclose(found, [prediction.logits for prediction in stored], rtol=0, atol=1e-4)
    assert len(list(tmp_path.glob("logits*.npy"))) == 2


def digits_card(package):
    return (package / "xcit_small_digits.md").read_text(encoding="utf-8")


def imagenet_card(package):
    """The card of the published model; its figures are another package's, for there are none of its own here."""
    model = spec.read_spec("xcit_tiny_12_p16_224", "imagenet2012")
    contents = read_manifest(package) | {"uid": model.uid, "package": model.package_name, "model": model.name}
    contents |= {"dataset": "imagenet2012", "entry": model.entry_name}
    contents["card"] = model.card_fields | {"dataset": datasets.find("imagenet2012").card_text("the validation set")}
    contents["inputs"]["recipe"] = dict(model.recipe)
    contents["checkpoint"]["file"] = "xcit_tiny_12_p16_224-1b1c9301.ckpt"
    assert not documents.faults_of({**contents, "digests": {}}, "manifest")
    return card.render(contents)


@pytest.fixture(params=[digits_card, imagenet_card])
def text(request, small_package):
    return request.param(small_package)


def test_the_hub_takes_the_card(text, tmp_path):
    (tmp_path / "card.md").write_text(text, encoding="utf-8")
    fields = hub_client.read_card(tmp_path / "card.md")
    parsed = card.parse(text, "card.md")
    documents.check(parsed.document, "card")
    assert fields.keys() == parsed.fields.keys()
    assert fields["mindspore-version"] == parsed.fields["mindspore-version"]
    assert card.parse_evaluation(fields["evaluation"]).keys() == {"top1acc", "top5acc"}


def test_a_dataset_that_the_hub_does_not_list_is_left_out(small_package):
    assert "train-dataset" not in card.parse(digits_card(small_package), "card.md").fields
    assert "Measured on Digits" in digits_card(small_package)
    assert card.parse(imagenet_card(small_package), "card.md").fields["train-dataset"] == "ImageNet2012"


def test_the_card_is_laid_out_as_the_hubs_are(text):
    lines = text.split("\n")
    assert re.fullmatch(r"# \S+", lines[0])
    assert lines[1:3] == ["", "---"]
    front = lines[3 : lines.index("---", 3)]
    assert front[0] == front[-1] == ""
    keys = [number for number, line in enumerate(front) if re.match(r"[a-z-]+:", line)]
    assert all(front[number - 1] == "" and front[number - 2] != "" for number in keys[1:])  # one blank line between
    asset = front.index("asset:")
    assert front[asset + 1 : asset + 3] == ["", "-"]
    assert [line.partition(":")[0] for line in front[asset + 3 : asset + 6]] == [
        "    file-format",
        "    asset-link",
        "    asset-sha256",
    ]
    assert "\t" not in text
    assert "\r" not in text
    assert not text.startswith("\N{BYTE ORDER MARK}")


@pytest.mark.parametrize(
    ("pattern", "replacement", "refusal"),
    [
        (r"\Z", "\n---\n", "3 lines start with ---"),
        (r"\Z", "\n---|---\n", "3 lines start with ---"),
        (r"\A", "---\n", "3 lines start with ---"),
        (r"^## Usage", "## Usage:", "heading ## Usage:"),
        (r"^license: .*\n", "", "license is required"),
        (r"^model-name: .*\n", "", "model-name is required"),
        (r"^summary: .*", "summary: 'a: b'", "colon in summary"),
        (r"^summary: .*", "summary: a: b", "YAML"),
        (r"^fine-tunable: .*", "fine-tunable: 'yes'", "fine-tunable"),
        (r"^module-type: .*", "module-type: vision", "module-type"),
        (r"^module-type: .*", "module-type: cv-a-b", "module-type"),
        (r"^used-for: .*", "used-for: inference/sale", "used-for"),
        (r"^used-for: .*", "used-for: inference\n\ninfer-backend: tpu", "infer-backend"),
        (r"^used-for: .*", "used-for: inference\n\ntrain-dataset: digits", "train-dataset"),
        (r"^repo-link: .*", "repo-link: <https://example.org/a/b/tree/main/c>", "repo-link"),
        (r"^repo-link: .*", "repo-link: <https://example.com/a/b/tree/main>", "repo-link"),
        (r"^repo-link: .*", "repo-link: <https://example.com/a/b/tree/main/c/>", "repo-link"),
        (r"^    file-format: .*", "    file-format: zip", "file-format"),
        (r"^(    asset-link: .*)\.ckpt", r"\1.zip", "asset-link"),
        (r"^(    asset-sha256: .{8}).*", r"\1", "asset-sha256"),
        (r"^    asset-sha256: .*\n", "", "asset"),
    ],
)
def test_the_stand_in_refuses_what_the_hub_does(small_package, tmp_path, pattern, replacement, refusal):
    changed = re.sub(pattern, replacement, digits_card(small_package), count=1, flags=re.MULTILINE)
    assert changed != digits_card(small_package)
    (tmp_path / "card.md").write_text(changed, encoding="utf-8")
    with pytest.raises(hub_client.RefusedError, match=f"^{re.escape(refusal)}$"):
        hub_client.read_card(tmp_path / "card.md")


def test_the_datasets_are_the_hubs():
    source, *names = hub_client.DATASETS.read_text(encoding="utf-8").splitlines()
    assert "mindspore-ai/hub, revision 29e408b, Apache-2.0" in source
    assert len(names) == 388
    assert {"mnist", "cifar10", "imagenet2012", "ImageNet2012"} <= set(names)
    assert "digits" not in names
