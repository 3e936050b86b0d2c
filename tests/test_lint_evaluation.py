"""Rules of the family evaluation: numbers at the precision that is printed, and the card's row in its table."""

import re

import pytest
from linting import check, good_card

from hubpkg.lint import figures
from hubpkg.lint.evaluation import metric_name_unknown
from hubpkg.lint.source import Card, encode

LINK = "https://example.com/tiny-92c14388.ckpt"


def card(evaluation, *tables, accuracy="", name="tiny", dataset="mnist"):
    """A card with these tables, and the asset LINK."""
    text = good_card(3)[1]
    text = re.sub(r"## Performance\n.*?(?=\n## )", "## Performance\n\n" + "\n\n".join(tables), text, flags=re.DOTALL)
    text = re.sub(r"evaluation: .*", f"evaluation: {evaluation}" if evaluation else "author: x", text)
    text = re.sub(r"(# |model-name: ).*", rf"\g<1>{name}", text, count=2)
    text = re.sub(r"train-dataset: .*", f"train-dataset: {dataset}", text)
    if accuracy:
        text = text.replace("license: ", f"accuracy: {accuracy}\n\nlicense: ", 1)
    return re.sub(r"asset-link: .*", f"asset-link: <{LINK}>", text)


def table(*rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


def mismatches(text):
    return len(check(text, select=["evaluation-table-mismatch"]))


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("81.3", "81.31", True), ("81.31", "81.3", True), ("81.3", "81.38", False), ("77.16", "77.17", False),
        ("94", "94.42", True), ("94", "94.6", False), ("81.25", "81.3", True), ("100", "100.00", True),
        ("1.72e-05", "0.0000172", True), ("0.1", "0.1", True),
    ],
)  # fmt: skip
def test_numbers_are_compared_at_the_precision_of_the_coarser(one, other, agree):
    assert figures.agree(one, other) is agree


@pytest.mark.parametrize(
    ("cell", "number"),
    [("77.16", "77.16"), ("81.31%", "81.31"), ("**6.72**", "6.72"), ("10,893.62", "10893.62"), ("47,34", "47.34"),
     ("5.5M", "5.5"), ("233.86 ms", "233.86"), ("-", None), ("2~4 mins", None), ("4 (video)", None), ("", None),
     ("fp16", None), ("224x224", None)],
)  # fmt: skip
def test_a_cell_holds_a_number_or_none(cell, number):
    assert figures.number(cell) == number


def test_the_row_is_found_by_link_then_by_file_name_then_by_model_name():
    wrong, right = ["tiny", "70.00", "x"], ["other", "81.31", f"[w]({LINK})"]
    header = ["model name", "acc@top1", "weight"]
    assert mismatches(card("top1acc81.3", table(header, wrong, right))) == 0
    assert mismatches(card("top1acc70.00", table(header, wrong, right))) == 1
    by_name = ["other", "81.31", "[w](https://mirror.example.org/tiny-92c14388.ckpt)"]
    assert mismatches(card("top1acc81.3", table(header, wrong, by_name))) == 0
    assert mismatches(card("top1acc70.00", table(header, wrong, by_name))) == 1
    assert mismatches(card("top1acc81.3", table(header, wrong))) == 1
    assert mismatches(card("top1acc70", table(header, wrong))) == 0


@pytest.mark.parametrize(
    "tables",
    [
        [],
        [table(["model name", "acc@top1"], ["other", "70.00"])],
        [table(["model name", "img/s"], ["tiny", "70.00"])],
        [table(["model name", "acc@top1"], ["tiny", "-"])],
        [table(["model name", "backbone", "acc@top1"], ["tiny", "a", "70.00"], ["tiny", "b", "71.00"])],
        [table(["model name", "dataset", "acc@top1"], ["tiny", "cifar10", "70.00"])],
        [table(["model name", "acc@top1"], ["tiny-2", "70.00"])],
        [table(["model name", "weight", "acc@top1"], ["other", f"[w]({LINK}.bak)", "70.00"])],
    ],
)
def test_a_card_with_no_comparable_row_is_left_alone(tables):
    assert mismatches(card("top1acc81.3 | top5acc95.1", *tables)) == 0


def test_of_rows_with_the_same_link_one_that_agrees_is_enough():
    header, link = ["scale", "acc@top1", "weight"], f"[w]({LINK})"
    assert mismatches(card("top1acc81.3", table(header, ["N", "70.00", link], ["S", "81.31", link]))) == 0


@pytest.mark.parametrize(
    ("evaluation", "column", "value", "count"),
    [
        ("acc81.3", "accuracy", "81.31%", 0), ("acc81.3", "Accuracy (Top1)", "81.9", 1), ("mAP46.6", "map", "46.6%", 0),
        ("mAP46.6", "mAP", "45.5", 1), ("PSNR32.58", "PSNR↑", "32.58", 0), ("PSNR32.58", "**PSNR**", "31", 1),
        ("acc0.813", "acc", "81.31", 0), ("top1acc77.27", "acc@top5", "93.56", 0), ("acc70", "acc@top1", "71", 1),
        ("F1score88.1", "F1 score", "87.1", 1),
    ],
)  # fmt: skip
def test_columns_are_known_by_several_names(evaluation, column, value, count):
    assert mismatches(card(evaluation, table(["model name", column], ["tiny", value]))) == count


def test_a_row_of_another_dataset_is_not_the_cards():
    header, link = ["model name", "dataset", "acc@top1", "weight"], f"[w]({LINK})"
    other, own = ["a", "CIFAR-10", "70.00", link], ["a", "MNIST", "81.31", link]
    assert mismatches(card("top1acc81.3", table(header, other))) == 0
    assert mismatches(card("top1acc70", table(header, other, own))) == 1
    assert mismatches(card("top1acc81.3", table(header, other, own))) == 0
    assert (
        mismatches(card("top1acc81.3", table(header, ["a", "MJ+ST", "70.00", link]))) == 1
    )  # the file says whose it is
    assert mismatches(card("top1acc81.3", table(header, ["tiny", "MJ+ST", "70.00", "-"]))) == 0
    for known, written in (("imagenet2012", "ImageNet-1K"), ("coco2017", "MS COCO 2017"), ("coco2017", "COCO")):
        assert mismatches(card("top1acc81", table(header, ["a", written, "70", link]), dataset=known)) == 1
    assert mismatches(card("top1acc81", table(header, ["a", "cifar100", "70", link]), dataset="cifar10")) == 0


def test_a_file_whose_name_ends_in_the_assets_is_another():
    header = ["weight", "acc@top1"]
    assert (
        mismatches(card("top1acc81.3", table(header, ["[w](https://example.org/wide_tiny-92c14388.ckpt)", "70"]))) == 0
    )
    assert mismatches(card("top1acc81.3", table(header, ["[w](https://example.org/tiny-92c14388.ckpt)", "70"]))) == 1


def test_a_table_may_be_html_and_a_name_a_link():
    rows = "<tr><th>Model</th><th>Top-1 (%)</th></tr><tr><td><a href='x'>tiny</a></td><td><b>77.16%</b></td></tr>"
    assert mismatches(card("top1acc77.16", f"<table>{rows}</table>")) == 0
    assert mismatches(card("top1acc77.27", f"<table>{rows}</table>")) == 1
    assert (
        mismatches(card("top1acc77.27", table(["Architecture", "Top-1"], ["[tiny](https://a.example)", "77.16"]))) == 1
    )


def test_a_table_may_give_each_model_a_column():
    turned = table(["Parameters", "", ""], ["Model Version", "tiny", "tiny-600"], ["Dataset", "mnist", "mnist"],
                   ["Accuracy (Top1)", "82.4", "86.9"])  # fmt: skip
    other = turned.replace("mnist", "imagenet2012").replace("82.4", "73.9")
    assert mismatches(card("", turned, other, accuracy="0.824")) == 0
    assert mismatches(card("", turned, other, accuracy="0.869")) == 1


def syntax(evaluation):
    return len(check(card(evaluation), select=["evaluation-syntax"]))


@pytest.mark.parametrize(
    "evaluation",
    ["top1acc77.27 | top5acc93.56", "2Dprojection99.7", "TRP@FAR=1%:98.53", "acc1.72e-05", "mAP@.5IoU60.6",
     "100%-EER:98.73", "acc77|f10.5", "avgReward-12.5"],
)  # fmt: skip
def test_metrics_of_the_hub_fit_the_grammar(evaluation):
    assert syntax(evaluation) == 0


def test_a_bare_dash_is_told_by_yaml_and_not_again():
    assert syntax("-") == 0
    assert check(card("-"), select=["yaml-invalid"])


@pytest.mark.parametrize(
    ("evaluation", "count"),
    [("top1acc100", 0), ("top1acc100.1", 1), ("PSNR224.1", 0), ("MAE112.11", 0), ("SSIM0.91", 0), ("SSIM91", 0),
     ("SSIM910", 1), ("acc0.77", 1), ("acc0", 0), ("mAP0.4", 0), ("loss0.01", 0), ("auc101", 1), ("acc-5", 1)],
)  # fmt: skip
def test_shares_lie_between_0_and_100(evaluation, count):
    assert len(check(card(evaluation), select=["evaluation-range"])) == count


@pytest.mark.parametrize(
    "name",
    ["top1acc", "top5acc", "mAP", "mIoU", "PSNR", "set5psnr", "class0precision", "FAR0.1recall", "HITS@10acc",
     "rank5acc", "AP50acc", "macroF1acc", "HausdorffDistance", "R10@1acc", "easy"],
)  # fmt: skip
def test_metrics_with_their_usual_spelling_are_known(name):
    assert check(card(f"{name}77.1"), select=["metric-name-unknown"]) == []


@pytest.mark.parametrize(
    ("name", "usual"), [("top1caa", "top1acc"), ("BLUE", "BLEU"), ("psnr", "PSNR"), ("miou", "mIoU")]
)
def test_the_usual_spelling_is_named(name, usual):
    [finding] = metric_name_unknown(Card("a.md", encode(card(f"{name}77.1"))))
    assert usual in finding.message


@pytest.mark.parametrize(
    ("evaluation", "count"),
    [("top1acc77 | top5acc93", 0), ("top1acc93 | top5acc77", 1), ("R1acc50 | R5acc40", 1),
     ("R2@1acc90 | R10@1acc70", 0), ("R10@1acc70 | R10@5acc60", 1), ("top1acc77 | rank5acc70", 0)],
)  # fmt: skip
def test_more_answers_are_never_worse(evaluation, count):
    assert len(check(card(evaluation), select=["evaluation-order"])) == count


def test_two_columns_of_one_name_are_compared_with_nothing():
    text = (
        "# tiny\n\n---\n\nmodel-name: tiny\n\nevaluation: top1acc77.16\n\n---\n\n"
        "| model | acc@top1 | acc@top1 |\n| --- | --- | --- |\n| tiny | 77.16 | 71.2 |\n"
    )
    assert check(text, select=["evaluation-table-mismatch"]) == []
    assert check(
        text.replace("| acc@top1 | acc@top1 |", "| acc@top1 | loss |").replace("77.16 |", "76.16 |"),
        select=["evaluation-table-mismatch"],
    ) == [("evaluation-table-mismatch", 7, 13)]
