"""The worked examples: packages of models that hubpkg does not know."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import make_small

import hubpkg
from hubpkg import card, manifest
from hubpkg.cli import main

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
SHAPED = "xcit_narrow_p8"
pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder for HUBPKG_MODELS with the examples, and an XCiT of another width and patch."""
    folder = tmp_path_factory.mktemp("examples")
    for example in EXAMPLES.glob("*/"):
        shutil.copytree(example, folder / example.name, ignore=shutil.ignore_patterns("__pycache__"))
    make_small(folder, SHAPED, "patch_size=8, dim=48, depth=1, num_heads=3, class_depth=1")
    return folder


@pytest.fixture
def place(folders, shared_cache, tmp_path, monkeypatch):
    """An empty folder to work in, where the examples are found."""
    monkeypatch.setenv("HUBPKG_MODELS", str(folders))
    monkeypatch.setenv("HUBPKG_CACHE", str(shared_cache))
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    """What ``hubpkg`` with ``arguments`` prints; it ends well."""
    capsys.readouterr()
    status = main(list(map(str, arguments)))
    told = capsys.readouterr()
    assert status == 0, told.err
    return told.out


def built(capsys, model, *options):
    """The result of building a model, its package and manifest; card and package are without a fault."""
    result = json.loads(run(capsys, "build", model, "--json", *options))
    package = Path(result["package"])
    contents = manifest.read(package / manifest.NAME)
    assert run(capsys, "lint", result["card"]) == "1 card: nothing found\n"
    run(capsys, "verify", package)
    return result, package, contents


def details(capsys, package, *options):
    checks = json.loads(run(capsys, "verify", package, "--json", *options))["checks"]
    return {check["name"]: check["detail"] for check in checks}


def exported(capsys, package):
    """The manifest of the package after its weights were added in every format."""
    run(capsys, "export", package)
    contents = manifest.read(package / manifest.NAME)
    assert [entry["format"] for entry in contents["exports"]] == ["onnx", "mindir", "safetensors"]
    return contents


def test_a_text_classifier_has_accuracy_and_f1(capsys):
    result, package, contents = built(capsys, "sentiment_bag")
    assert result["metrics"].keys() == {"top1", "F1score"}
    assert min(result["metrics"].values()) > 70
    found = contents["evaluation"]["metrics"]["F1score"]
    assert found["low"] < found["value"] < found["high"]
    text = Path(result["card"]).read_text(encoding="utf-8")
    figures = card.parse_evaluation(card.read(Path(result["card"])).fields["evaluation"])
    assert figures == {"top1acc": round(result["metrics"]["top1"], 2), "F1score": round(found["value"], 2)}
    assert "| samples/s | acc@top1 | F1score | recipe |" in text
    assert "samples = np.zeros((1, 12))" in text
    assert "mindspore.int32" in text
    assert "image" not in text
    static = details(capsys, package)["evaluation"]
    assert static.endswith("sentiment_bag_data.py computed it: verify --rerun runs that again")
    contents = exported(capsys, package)
    text = Path(result["card"]).read_text(encoding="utf-8")
    assert text.count("for one sample at a time. Loaded back, it gave MindSpore's logits on 8 random samples") == 2
    again = details(capsys, package, "--rerun")
    assert "logits within " in again["exported"]
    assert again["metrics"].startswith(f"F1score {found['value']:g}, computed again by sentiment_bag_data.py")
    assert again["rerun"].startswith("200 samples evaluated again")
    forged = {**found, "value": found["value"] + 1}
    reseal(package, contents | {"evaluation": contents["evaluation"] | {"metrics": {"F1score": forged}}})
    assert main(["verify", str(package)]) == 0  # which does not run the package's code, and says so
    assert main(["verify", "--rerun", str(package)]) == 1
    assert "FAIL metrics: F1score: value: expected" in capsys.readouterr().out


def reseal(package, contents):
    """Let the package say ``contents``, as a forger would who can make all its files."""
    from hubpkg import assembly

    assembly.finish(package, {key: value for key, value in contents.items() if key != "digests"})


def test_a_regression_has_its_error_and_an_interval(capsys):
    result, package, contents = built(capsys, "diabetes_mlp")
    measured = contents["evaluation"]
    assert measured.keys() == {"samples", "metrics", "measured", "tolerance", "close", "engine"}
    found = measured["metrics"]["MAE"]
    assert 30 < found["low"] < found["value"] < found["high"] < 60  # always to say the mean is off by 60
    log = [json.loads(line) for line in (package / "evidence" / "training.jsonl").read_text().splitlines()]
    losses = [line["validation"]["weights"]["l1"] for line in log if "validation" in line]
    assert losses[-1] == pytest.approx(found["value"], rel=1e-5)
    text = Path(result["card"]).read_text(encoding="utf-8")
    assert f"\nevaluation: MAE{found['value']:.4g}\n" in text
    assert "- MAE: less is better; of 89 samples: a fifth of the 442 patients, fixed by a seed; computed by" in text
    assert "acc@" not in text
    assert "`hubpkg verify` computes it again, MAE with `--rerun`." in text
    exported(capsys, package)
    text = Path(result["card"]).read_text(encoding="utf-8")
    told = r"it gave MindSpore's outputs on 8 random samples, within \S+, above 1 as a share of them\."
    assert len(re.findall(told, text)) == 3
    again = details(capsys, package, "--rerun")
    assert "outputs within " in again["exported"]
    assert "89 samples evaluated again" in again["rerun"]
    assert "the largest change of an output is" in again["rerun"]
    bom = json.loads((package / "evidence" / "bom.cdx.json").read_text())["metadata"]["component"]["modelCard"]
    assert bom["modelParameters"]["task"] == "regression"
    assert [metric["type"] for metric in bom["quantitativeAnalysis"]["performanceMetrics"]] == ["MAE"]
    some = details(capsys, package, "--rerun", "--sample", "20")["rerun"]
    assert some.endswith("one output that was forged, by however much, slips through with a chance of 0.78")
    forge_output(package)
    assert main(["verify", "--rerun", str(package)]) == 1
    told = capsys.readouterr().out
    assert "FAIL metrics: MAE: " in told
    assert "FAIL rerun: " in told
    assert "one moved by" in told
    (package / "diabetes_mlp" / "diabetes_mlp_data.py").write_text("1 / 0")
    reseal(package, manifest.read(package / manifest.NAME))
    assert main(["verify", "--rerun", str(package)]) == 1
    assert "FAIL extension: " in (told := capsys.readouterr().out)
    assert "diabetes_mlp_data.py: expected to run it, found ZeroDivisionError: division by zero" in told


def forge_output(package):
    """Let the first patient's prediction be another one, and the manifest's records fit."""
    file = package / "evidence" / "predictions.csv"
    header, first, *rest = file.read_text().splitlines()
    name, target, _ = first.split(",")
    file.write_text("\n".join([header, f"{name},{target},{target}", *rest, ""]))
    reseal(package, manifest.read(package / manifest.NAME))


def test_a_network_of_another_library_is_wrapped(capsys):
    # Which are not enough steps for its statistics; and MindSpore can't export it as ONNX.
    few = ("--set", "epochs=2", "--set", "decay_epochs=1.5", "--engine", "mindspore")
    result, package, contents = built(capsys, "resnet18_mindcv", *few)
    assert result["performance"]["parameters_m"] == pytest.approx(11.17, abs=0.01)
    assert result["metrics"].keys() == {"top1"}  # of two classes there is no top-5 to speak of
    assert "figure" not in contents["card"]
    assert type(hubpkg.load(package)).__module__.startswith("mindcv")


def test_an_xcit_of_another_width_and_patch_is_built(capsys):
    result, package, _ = built(capsys, SHAPED, "--set", "image_size=16", "--engine", "mindspore")
    network = hubpkg.load(package)
    assert (network.patch_size, network.head.in_channels) == (8, 48)
    assert result["metrics"].keys() == {"top1", "top5"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data": "1 / 0"}, "leaf_data.py: expected to run it, found ZeroDivisionError: division by zero"),
        ({"model": {"extension": "other.py"}}, "models/leaf: expected the file other.py, found none"),
        ({"model": {"extension": "../x.py"}}, "extension: expected a Python file of the model's folder"),
        ({"recipe": {"task": "regression"}}, "num_outputs: expected this key, found it missing"),
        ({"recipe": {"input_shape": [3]}}, "crop_pct: expected it for images alone, found it with input_shape"),
        ({"recipe": {"vocab_size": 3}}, "vocab_size: expected it with input_shape, found it for images"),
        ({"recipe": {"num_outputs": 3}}, "num_outputs: expected it with task: regression, found it without"),
        ({"recipe": {"dataset": "leaves"}, "dataset": "leaves"}, "reads (digits, imagenet2012, cifar10,"),
        (
            {"regression": True},
            "models/leaf/model.yaml: expected an extension that defines METRICS, as a regression has no others",
        ),
        (
            {"regression": True, "model": {"datasets": {"digits": {"reported": [{"source": "A", "top1": 9}]}}}},
            "datasets.digits.reported: expected accuracies of a classification, found them for a regression",
        ),
        (
            {"recipe": {"num_classes": 9}},
            "the recipe does not fit the dataset digits: num_classes: expected 10, found 9",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_built(capsys, change, expected):
    main(["init", "leaf", "--yes"])
    folder, name = Path("models/leaf"), change.get("dataset", "digits")
    model = yaml.safe_load((folder / "model.yaml").read_text())
    recipe = yaml.safe_load((folder / "recipes" / "digits.yaml").read_text()) | change.get("recipe", {})
    if "data" in change:
        (folder / "leaf_data.py").write_text(change["data"])
        model["extension"] = "leaf_data.py"
    if "regression" in change:
        recipe = {key: value for key, value in recipe.items() if key not in {"num_classes", "label_smoothing"}}
        recipe |= {"task": "regression", "num_outputs": 1}
    model |= {"datasets": {name: {}}, "default-dataset": name, **change.get("model", {})}
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    (folder / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    capsys.readouterr()
    assert main(["build", "leaf"]) == 2
    assert expected in capsys.readouterr().err
    assert not Path("dist").exists()


@pytest.mark.parametrize(
    ("model", "setting", "expected"),
    [
        ("diabetes_mlp", "input_shape=[11]", "expected inputs of float32 and shape (11,), as the recipe says, found"),
        ("diabetes_mlp", "num_outputs=2", "expected a target of 2 finite numbers, as num_outputs says, found (75.0,)"),
        ("sentiment_bag", "vocab_size=20", "expected numbers from 0 to 19, found others"),
        ("sentiment_bag", "num_classes=3", "the recipe does not fit the dataset opinions: num_classes: expected 2"),
        ("resnet18_mindcv", "in_channels=3", "mean: expected a list of 3, one value a channel, found a list of 1"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_told(capsys, model, setting, expected):
    assert main(["build", model, "--set", setting]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error:" in line)
    assert expected in line
    assert not Path("dist").exists()


def test_a_network_that_does_not_take_the_recipe_s_inputs_is_told(capsys, folders):
    folder = Path(shutil.copytree(folders / "diabetes_mlp", "models/diabetes_mlp"))
    conf = folder / "mindspore_hub_conf.py"
    text = conf.read_text()
    for old, new, expected in (
        (
            ", input_shape=(10,)",
            "",
            "for inputs of shape (1, 10), as the recipe for diabetes has them, found TypeError",
        ),
        ("num_outputs)", "3)", "expected outputs of shape (1, 1), found (1, 3)"),
    ):
        conf.write_text(text.replace(old, new))
        assert main(["build", "diabetes_mlp"]) == 2
        assert expected in capsys.readouterr().err
