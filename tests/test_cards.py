"""Cards for other hubs, and the Chinese one: the same facts, read as those hubs read them, and proven again."""

import json
import re

import pytest
import tiny
import yaml

from hubpkg import card, cards, manifest
from hubpkg.errors import HubpkgError
from hubpkg.lint import engine
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Options
from hubpkg.lint.source import Card


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("dist"))


@pytest.fixture
def contents(package):
    return manifest.read(package / manifest.NAME)


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_hugging_face_s_own_classes_read_the_measured_results(contents):
    from huggingface_hub import EvalResult, ModelCard

    name, text = cards.render("huggingface", contents)
    read = ModelCard(text)
    assert name == "README.md"
    assert (read.data.license, read.data.library_name) == ("apache-2.0", "mindspore")
    assert (read.data.pipeline_tag, read.data.metrics) == ("image-classification", ["accuracy"])
    shared = {
        "task_type": "image-classification",
        "dataset_name": "Digits",
        "dataset_type": "digits",
        "dataset_split": "test",
        "metric_type": "accuracy",
    }
    assert read.data.model_name == "tiny_digits"
    assert read.data.eval_results == [
        EvalResult(**shared, metric_name="acc@top1 (%)", metric_value=10.0),
        EvalResult(**shared, metric_name="acc@top5 (%)", metric_value=50.0),
    ]
    assert front(str(read))["model-index"] == front(text)["model-index"]
    assert read.text.strip() == card.parse(card.render(contents), "card").body.strip()


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("modelscope", {"frameworks": ["mindspore"], "tasks": ["image-classification"]}),
        ("modelers", {"frameworks": ["MindSpore"], "pipeline_tag": "image-classification", "hardwares": ["CPU"]}),
    ],
)
def test_the_chinese_hubs_get_their_keys_and_the_chinese_text(contents, kind, own):
    name, text = cards.render(kind, contents)
    assert name == "README.md"
    assert front(text) == {
        "license": "apache-2.0",
        **own,
        "metrics": ["accuracy"],
        "tags": ["mindspore", "hubpkg", "tiny", "digits"],
    }
    assert text.endswith(cards.render("cn", contents)[1].split("\n---\n")[2])


def test_modelers_is_told_of_ascend(contents):
    contents["environment"]["devices"] = "Ascend"
    assert front(cards.render("modelers", contents)[1])["hardwares"] == ["NPU"]


@pytest.mark.parametrize(
    ("license", "told"),
    [("MIT", {"license": "mit"}), ("My licence", {"license": "other", "license_name": "My licence"})],
)
def test_a_licence_is_spelled_as_the_hubs_do(contents, license, told):  # noqa: A002 - the card's word
    contents["card"]["license"] = license
    found = front(cards.render("huggingface", contents)[1])
    assert {key: found[key] for key in told} == told
    assert ("license_name" in found) is ("license_name" in told)


@pytest.mark.parametrize(
    ("kind", "recipe", "task"),
    [
        ("nlp", {"input_shape": [64]}, "text-classification"),
        ("cv", {"task": "regression", "num_outputs": 1}, None),
        ("audio", {"input_shape": [64]}, None),
    ],
)
def test_a_task_that_is_not_told_is_not_guessed(contents, kind, recipe, task):
    contents["card"]["module-type"] = kind
    contents["inputs"] |= {"recipe": {**contents["inputs"]["recipe"], **recipe}, "extension": "own.py"}
    contents["evaluation"]["metrics"] = {"MAE": {"value": 0.123456789, "unit": "mm", "higher_is_better": False}}
    found = front(cards.render("modelscope", contents)[1])
    assert found.get("tasks") == (task and [task])
    assert found["metrics"] == ["accuracy", "mae"]
    result = front(cards.render("huggingface", contents)[1])["model-index"][0]["results"][0]
    assert result["task"]["type"] == (task or "other")
    assert result["metrics"][-1] == {"type": "mae", "name": "MAE (mm)", "value": 0.123457}


def test_the_f1_score_has_its_name_on_these_hubs(contents):
    contents["inputs"]["extension"] = "own.py"
    contents["evaluation"]["metrics"] = {"F1score": {"value": 75.5, "unit": "%", "higher_is_better": True}}
    found = front(cards.render("huggingface", contents)[1])
    assert found["metrics"] == ["accuracy", "f1"]
    assert found["model-index"][0]["results"][0]["metrics"][-1] == {"type": "f1", "name": "F1score (%)", "value": 75.5}


def figures(text):
    """The numbers in the tables of a card's body, row by row."""
    rows = re.findall(r"^\|.*\|$", text.split("\n---\n")[2], re.MULTILINE)
    found = [re.findall(r"\d+(?:\.\d+)?", row) for row in rows]
    return [numbers for numbers in found if numbers]


def test_the_chinese_card_has_the_english_one_s_figures_and_links(contents):
    contents["card"]["reported"] = [{"source": "A list", "top1": 77.0}, {"source": "Another", "top1": 9.0}]
    english, chinese = (cards.render(kind, contents)[1] for kind in ("hub", "cn"))
    assert len(figures(english)) >= 6
    assert figures(chinese) == figures(english)
    for text in (english, chinese):
        assert "10.00" in text
    pair = [
        Card("publisher/2.10/tiny_digits.md", english.encode()),
        Card("publisher/2.10/tiny_digits_cn.md", chinese.encode()),
    ]
    for target in ("hubpkg", "hub"):
        assert [(r.rule.code, r.finding.message) for r in engine.lint(pair, Configuration(), Options(target))] == []
    pair[1] = Card(
        "publisher/2.10/tiny_digits_cn.md", chinese.replace(contents["checkpoint"]["sha256"], "0" * 64).encode()
    )
    assert "twin-mismatch" in [r.rule.name for r in engine.lint(pair, Configuration(), Options())]


def test_the_chinese_card_has_the_chinese_text_where_the_model_gives_one(contents):
    contents["card"]["chinese"] = {"summary": "摘要的文字", "introduction": "简介的文字", "caption": "图的文字"}
    text = cards.render("cn", contents)[1]
    assert "摘要: 摘要的文字" in text
    assert "\n简介的文字\n" in text
    assert "图1：图的文字" in text
    assert "The layers" not in text


@pytest.mark.parametrize("source", ["fetch", "train"])
def test_the_chinese_card_tells_what_the_english_one_does_of_the_weights(contents, source):
    contents["checkpoint"] |= {"source": source, "link": "https://example.com/w.ckpt", "averaged": True}
    contents["checkpoint"]["start"] = {"file": "start.ckpt", "sha256": "0" * 64}
    contents["evaluation"]["close"] = ["image1"]
    contents["inputs"]["data"]["test"]["damaged"] = ["image2"]
    contents["published"] = True
    text = cards.render("cn", contents)[1]
    assert ("按sha256下载自https://example.com/w.ckpt" in text) is (source == "fetch")
    assert ('training.svg" width="600" alt="训练各步的损失、学习率和准确率"' in text) is (source == "train")
    for told in ("`start.ckpt`", "`ema_decay`", "其中1张图像", "另有1张图像损坏或缺失", "链接已读回"):
        assert told in text
    assert "尚未发布" not in text


@pytest.mark.parametrize("kind", cards.KINDS)
def test_a_card_is_proven_by_making_it_again(contents, tmp_path, kind):
    path = cards.write(kind, contents, tmp_path / "out", replace=False)
    assert cards.compare(kind, contents, path.parent) == []
    path.write_text(path.read_text().replace("Apache-2.0", "MIT").replace("apache-2.0", "mit"))
    (fault, *_) = cards.compare(kind, contents, path.parent)
    assert re.search(rf"{path.name}:\d+: .*expected .*pache-2.0", fault)


def test_check_says_which_line_differs_and_fails(hubpkg, package, tmp_path):
    make = ("cards", package, "--for", "cn", "--out", tmp_path)
    done = hubpkg(*make, "--check", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"card": str(tmp_path / "tiny_digits_cn.md"), "ok": False}
    assert "expected the card for cn, found no such file" in done.stderr
    path = tmp_path / "tiny_digits_cn.md"
    for arguments, output in (((), f"{path}\n"), (("--check",), f"{path}: as the package has it\n")):
        done = hubpkg(*make, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_another_file_of_the_name_is_kept_unless_it_may_be_replaced(contents, tmp_path):
    (tmp_path / "README.md").write_text("mine\n")
    with pytest.raises(HubpkgError, match="expected no file, or this card, found another"):
        cards.write("huggingface", contents, tmp_path, replace=False)
    assert (tmp_path / "README.md").read_text() == "mine\n"
    for replace in (True, False):
        cards.write("huggingface", contents, tmp_path, replace=replace)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_no_card_is_made_of_a_package_that_does_not_verify(hubpkg, tmp_path):
    package = tiny.make(tmp_path / "dist")
    (package / "tiny_digits.md").write_text("# T\n")
    done = hubpkg("cards", package, "--for", "modelers", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no card made of it, since it does not verify" in done.stderr
    assert not (tmp_path / "out").exists()
