"""Model folders: where they are looked for, what a dataset and the command line override, and what is wrong."""

import re
import shutil
from pathlib import Path

import pytest

from hubpkg import documents, spec
from hubpkg.errors import HubpkgError, InvalidDocumentError

HERE = Path(__file__).parent
MODEL = (HERE / "examples/model/minimal.yaml").read_text(encoding="utf-8")
RECIPE = (HERE / "examples/recipe/minimal.yaml").read_text(encoding="utf-8")
LINK = "https://example.com/another/models/tree/v1/folder"


def write_model(folder, name="tiny"):
    """A whole model folder, of the examples."""
    model = folder / name
    (model / "recipes").mkdir(parents=True)
    (model / "model.yaml").write_text(MODEL.replace("model-name: tiny", f"model-name: {name}"), encoding="utf-8")
    (model / "recipes" / "digits.yaml").write_text(RECIPE.replace("model: tiny", f"model: {name}"), encoding="utf-8")
    (model / "mindspore_hub_conf.py").write_text("def create_network(name): ...\n", encoding="utf-8")
    (model / "tiny.svg").write_text("<svg/>", encoding="utf-8")
    return model


def change(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty working folder, with nothing in HUBPKG_MODELS and no model shipped."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "shipped").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("HUBPKG_MODELS", raising=False)
    monkeypatch.setattr(spec, "shipped", tmp_path.joinpath)
    (tmp_path / "shipped").rename(tmp_path / "models")
    return tmp_path


@pytest.fixture
def tiny():
    return write_model(Path("models"))


def faults(*arguments):
    with pytest.raises(InvalidDocumentError) as caught:
        spec.read_spec(*arguments)
    return list(caught.value.faults)


def test_a_model_is_read(tiny):
    (tiny / "__pycache__").mkdir()
    (tiny / "__pycache__" / "a.pyc").touch()
    (tiny / ".hidden").touch()
    read = spec.read_spec("tiny")
    assert (read.name, read.dataset, read.package_name) == ("tiny", "digits", "tiny_digits")
    assert read.uid == "publisher/2.10/tiny_digits"
    assert read.entry_name == "tiny"
    assert read.recipe["lr"] == 0.001
    assert read.network_defaults == {"in_channels": 1, "num_classes": 10, "image_size": 32}
    assert read.network_arguments == {"in_channels": 1, "num_classes": 10}
    assert sorted(read.entry_files) == ["mindspore_hub_conf.py", "model.yaml", "recipes/digits.yaml", "tiny.svg"]
    assert not {"model-name", "datasets", "default-dataset"} & read.card_fields.keys()
    assert read.card_fields["model-version"] == "2.10"


def test_models_are_looked_for_here_then_in_hubpkg_models_then_among_the_shipped(place, monkeypatch):
    monkeypatch.setenv("HUBPKG_MODELS", str(place / "given"))
    folders = [Path("models"), place / "given", place / "models"]
    for folder in reversed(folders):
        write_model(folder)
        assert spec.find_model("tiny") == folder / "tiny"
    write_model(folders[2], "another")
    assert spec.find_model("another") == folders[2] / "another"


def test_an_unknown_model_names_the_nearest_each_once_and_where_it_was_looked_for(tiny, place):
    for folder in (tiny.parent, place / "models"):
        write_model(folder, "xcit_tiny_12_p16_224")
    with pytest.raises(HubpkgError) as caught:
        spec.find_model("xcit_tiny_12_p16")
    assert str(caught.value) == (
        "unknown model 'xcit_tiny_12_p16': expected a folder with a model.yaml in models, "
        f"{place / 'models'}; the nearest: xcit_tiny_12_p16_224"
    )
    with pytest.raises(HubpkgError, match=r"the nearest: tiny, xcit_tiny_12_p16_224$"):
        spec.find_model("zzz")


def test_where_there_are_no_models_it_is_said():
    with pytest.raises(HubpkgError, match=r"there are none$"):
        spec.find_model("tiny")


@pytest.mark.parametrize(
    "name", ["../tiny", "models/tiny", "./tiny", "tiny/", ".", "..", "", "*", "t?ny", "tiny\0", "/"]
)
def test_a_name_is_no_path(tiny, name):
    for folder in (tiny.parent, Path()):  # where such paths would lead
        shutil.copyfile(tiny / "model.yaml", folder / "model.yaml")
    write_model(Path())
    with pytest.raises(HubpkgError, match=f"^unknown model {re.escape(repr(name))}: expected a folder"):
        spec.find_model(name)


def test_an_absolute_path_is_no_name(tiny):
    with pytest.raises(HubpkgError, match="unknown model"):
        spec.find_model(str(tiny.absolute()))


def test_a_dataset_overrides_the_model_and_the_command_line_both(tiny):
    change(tiny / "model.yaml", "{digits: {}}", "{digits: {author: Theirs, user-id: theirs, train-dataset: MNIST}}")
    read = spec.read_spec("tiny", "digits", {"user-id": "ours", "repo-link": LINK, "asset-base-url": "http://a/"})
    assert read.fields["author"] == "Theirs"
    assert read.fields["user-id"] == "ours"
    assert read.fields["publisher"] == "publisher"
    assert read.card_fields["train-dataset"] == "MNIST"
    assert read.card_fields["repo-link"] == LINK
    assert read.entry_name == "folder"
    assert read.fields["asset-base-url"] == "http://a/"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("asset-base-url", "https://example.com/assets", "a URL that ends in '/'"),
        ("asset-base-url", "", "a URL that ends in '/'"),
        ("repo-link", f"{LINK}/", "https://<host>.com/<owner>/<repo>/tree/<branch>/<folder> with no slash at the end"),
        (
            "repo-link",
            f"{LINK}/..",
            "https://<host>.com/<owner>/<repo>/tree/<branch>/<folder> with no slash at the end",
        ),
        ("repo-link", f"{LINK}\n", "https://<host>.com/<owner>/<repo>/tree/<branch>/<folder> with no slash at the end"),
        ("author", "A: B", "one line of text without a ':' (the hub rejects it)"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_what_the_command_line_overrides_must_fit_the_schema_too(key, value, expected):
    assert faults("tiny", None, {key: value}) == [f"--{key}: expected {expected}, found {documents.describe(value)}"]


def test_an_unknown_dataset_is_an_error_of_the_option(tiny):
    assert faults("tiny", "../recipes/digits") == [
        "--dataset: expected one of digits, found '../recipes/digits'",
    ]
    change(tiny / "model.yaml", "default-dataset: digits", "default-dataset: mnist")
    assert faults("tiny") == ["models/tiny/model.yaml:19:1: default-dataset: expected one of digits, found 'mnist'"]


def test_every_dataset_has_its_recipe(tiny):
    change(tiny / "model.yaml", "{digits: {}}", "{digits: {}, mnist: {}}")
    assert faults("tiny", "mnist") == [
        "models/tiny/recipes/mnist.yaml: expected a readable file, found: No such file or directory"
    ]


def test_all_faults_of_a_model_are_told_at_once(tiny):
    recipe = tiny / "recipes" / "digits.yaml"
    change(tiny / "model.yaml", "model-name: tiny", "model-name: other")
    change(tiny / "model.yaml", "default-dataset: digits", "default-dataset: mnist")
    (tiny / "tiny.svg").unlink()
    (tiny / "mindspore_hub_conf.py").unlink()
    change(recipe, "model: tiny", "model: another")
    change(recipe, "dataset: digits", "dataset: mnist")
    change(recipe, "mean: [0.5]", "mean: [0.5, 0.5]")
    change(recipe, "std: [0.5]", "std: [0.5, 0.5, 0.5]")
    change(recipe, "decay_epochs: 2", "decay_epochs: 2.5")
    assert faults("tiny", "digits", {"asset-base-url": "assets"}) == [
        "models/tiny/model.yaml:1:1: model-name: expected 'tiny', the folder's name, found 'other'",
        "models/tiny/model.yaml:19:1: default-dataset: expected one of digits, found 'mnist'",
        "models/tiny: expected the file mindspore_hub_conf.py, found none",
        "models/tiny: expected the file tiny.svg, found none",
        "models/tiny/recipes/digits.yaml:1:1: model: expected 'tiny', found 'another'",
        "models/tiny/recipes/digits.yaml:2:1: dataset: expected 'digits', found 'mnist'",
        "models/tiny/recipes/digits.yaml:9:1: mean: expected a list of 1, one value a channel, found a list of 2",
        "models/tiny/recipes/digits.yaml:10:1: std: expected a list of 1, one value a channel, found a list of 3",
        f"{recipe}:18:1: decay_epochs: expected warmup_epochs and decay_epochs within the 3 epochs, found 1 and 2.5",
        "--asset-base-url: expected a URL that ends in '/', found \"assets\"",
    ]


def test_augmentation_that_can_not_be_followed_is_told_by_its_line(tiny):
    recipe = tiny / "recipes" / "digits.yaml"
    with recipe.open("a", encoding="utf-8") as file:
        file.write("auto_augment: randaug-m9-w0\ncolor_jitter: 0.4\nmixup: 0.8\n")
    change(recipe, "drop_remainder: true", "drop_remainder: false")
    lines = recipe.read_text(encoding="utf-8").splitlines()
    told = [fault.removeprefix("models/tiny/recipes/digits.yaml:") for fault in faults("tiny")]
    assert [fault.split(" expected ")[0] for fault in told] == [
        f"{lines.index(line) + 1}:1: {line.partition(':')[0]}:"
        for line in ("auto_augment: randaug-m9-w0", "color_jitter: 0.4", "drop_remainder: false")
    ]


def test_a_recipe_that_is_not_yaml_is_told_with_the_rest(tiny):
    (tiny / "tiny.svg").unlink()
    (tiny / "recipes" / "digits.yaml").write_text("a: b: c", encoding="utf-8")
    assert faults("tiny") == [
        "models/tiny: expected the file tiny.svg, found none",
        "models/tiny/recipes/digits.yaml:1:5: expected YAML; mapping values are not allowed here",
    ]


def test_a_model_yaml_that_does_not_fit_is_told_with_all_its_faults(tiny):
    change(tiny / "model.yaml", "fine-tunable: true\n", "")
    change(tiny / "model.yaml", "model-version: 2.10", "model-version: [2.10]\nversion: 1")
    assert [fault.split(": expected")[0].split(";")[0] for fault in faults("tiny")] == [
        "models/tiny/model.yaml:1:1: fine-tunable",
        "models/tiny/model.yaml:5:1: model-version",
        "models/tiny/model.yaml:6:1: version: unknown key",
    ]
