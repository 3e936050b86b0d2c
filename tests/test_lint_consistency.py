"""Rules of the family consistency: two places of a card that say the same, and what is left alone."""

import re

import pytest
from linting import check, good_card


def card(**values):
    """A good card with other values of the front matter."""
    text = good_card(3)[1]
    for key, new in values.items():
        name = key.replace("_", "-")
        text, count = re.subn(rf"^({name}: ).*$", lambda m, n=new: m[1] + n, text, count=1, flags=re.MULTILINE)
        assert count == 1
    return text


def with_body(body, text=None):
    text = text or card()
    return text[: text.index("## Introduction")] + body + "\n"


def table(*rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


@pytest.mark.parametrize(
    ("header", "row", "fine"),
    [
        (["cards", "batch size", "ms/step", "img/s"], ["8", "128", "233.86", "4378.69"], True),
        (["cards", "batch size", "ms/step", "img/s"], ["8", "128", "233.86", "4460"], True),  # within 2 percent
        (["cards", "batch size", "ms/step", "img/s"], ["8", "128", "233.86", "4480"], False),
        (["cards", "batch size", "ms/step", "img/s"], ["8", "32", "47,34", "5,446.81"], True),
        (["cards", "batch size", "s/step", "img/s"], ["1", "1", "2.65", "0.38"], True),
        (["cards", "batch size", "s/step", "img/s"], ["1", "1", "0.03", "30"], True),  # 0.03 may be 0.034
        (["cards", "batch size", "s/step", "video/s"], ["1", "1", "0.22", "0.09"], True),  # 50 steps a video
        (["cards", "batch size", "s/step", "img/s"], ["1", "64", "0.84", "7.619"], False),
        (["cards", "batch size", "s/step", "step", "img/s"], ["1", "1", "0.50", "8193", "0.000227"], True),
        (["cards", "batch size", "ms/step", "img/s"], ["4", "4 (video)", "38.01", "1"], True),
        (["cards", "batch size", "ms/step", "img/s"], ["4", "256", "-", "1180"], True),
        (["cards", "batch size", "ms/step", "img/s"], ["4", "256", "0", "1180"], True),
        (["batch size", "ms/step", "img/s"], ["256", "38.01", "1180"], True),
        (["Devices", "Batch", "Step time (ms)", "Throughput (images/s)"], ["8", "128", "233.86", "4378.69"], True),
        (["Devices", "Batch", "Step time (ms)", "Throughput (images/s)"], ["8", "128", "233.86", "3378.69"], False),
        (["NPUs", "batch_size", "ms/step", "samples/s"], ["8", "128", "233.86", "3378.69"], False),
    ],
)
def test_throughput_is_cards_times_batch_over_time(header, row, fine):
    hits = check(with_body(table(["model name", *header], ["tiny", *row])), select=["throughput-mismatch"])
    assert bool(hits) != fine


@pytest.mark.parametrize(
    ("title", "model", "fine"),
    [
        ("ResNet-50", "resnet50", True), ("vit", "vit_base_patch32", True), ("yolov4_shape416", "yolov4", True),
        ("FasterRCNN_ResNetV1_101", "faster_rcnn", True), ("res2net_yolov3", "yolov3_res2net", True),
        ("VGG-Small Low Bit", "VGG-Small-low bit", True), ("ResNet-101", "resnet50", False),
        ("ssd_vgg16", "ssd300", False),
        ("resnet501", "resnet50", False), ("UNet3+", "unet3plus", False), ("UNet3+", "UNet3+", True),
    ],
)  # fmt: skip
def test_the_title_names_the_model(title, model, fine):
    text = re.sub(r"^# .*", f"# {title}", card(model_name=model))
    assert bool(check(text, select=["title-mismatch"])) != fine


@pytest.mark.parametrize(
    ("sentence", "fine"),
    [
        ("Its network tiny has 6.7M parameters.", True), ("Its network tiny has 6.72 million parameters.", True),
        ("Its network tiny has 7.6M parameters.", False), ("YOLO-Nano has 0.91M parameters.", True),
        ("tiny is small. YOLO-Nano has 0.91M parameters.", True), ("tiny comes with 30B parameters.", True),
        ("tiny has 7.6M trainable parameters.", False),
    ],
)  # fmt: skip
def test_parameters_in_the_text_are_those_of_the_table(sentence, fine):
    text = with_body(f"{sentence}\n\n" + table(["model name", "params(M)"], ["tiny", "6.72"]), card(model_name="tiny"))
    assert bool(check(text, select=["parameters-mismatch"])) != fine


@pytest.mark.parametrize(("count", "fine"), [("6,716,272", True), ("6721600", True), ("7,621,600", False)])
def test_a_number_of_parameters_may_be_in_millions_or_whole(count, fine):
    tables = "\n\n".join(table(["model name", column], ["tiny", value]) for column, value in (
        ("params(M)", "6.72"), ("Parameters", count)))  # fmt: skip
    assert bool(check(with_body(tables), select=["parameters-mismatch"])) != fine


def test_two_networks_of_one_name_may_differ_in_parameters():
    one = table(["model name", "backbone", "params(M)"], ["CRNN", "VGG7", "8.72"], ["CRNN", "ResNet34", "24.48"])
    assert check(with_body(one), select=["parameters-mismatch"]) == []
    other = table(["model name", "backbone", "params(M)"], ["CRNN", "VGG7", "9.72"])
    assert len(check(with_body(f"{one}\n\ntext\n\n{other}"), select=["parameters-mismatch"])) == 1


@pytest.mark.parametrize(
    ("command", "fine"),
    [
        ("--config configs/xcit/xcit_tiny.yaml", True), ("-c configs/xcit/xcit_small.yaml", False),
        ("--config=configs/xcit/xcit_small.yml", False), ("--config configs/vae/stage1.yaml", True),
        ("--config xcit_small.yaml", True), ("--data configs/xcit/xcit_small.yaml", True),
    ],
)  # fmt: skip
def test_commands_take_the_recipe_of_the_table(command, fine):
    row = ["tiny", "[yaml](https://github.com/a/b/blob/v1/configs/xcit/xcit_tiny.yaml)"]
    body = table(["model name", "recipe"], row) + f"\n\n```shell\npython train.py {command} --x\n```"
    assert bool(check(with_body(body, card(model_name="tiny")), select=["recipe-mismatch"])) != fine


@pytest.mark.parametrize(
    ("path", "values", "fine"),
    [
        ("mindspore/2.5/a.md", {}, True), ("mindspore/2.5/a.md", {"mindspore_version": "2.3"}, False),
        ("cards/a.md", {"mindspore_version": "2.3"}, True), ("a.md", {"mindspore_version": "2.3"}, True),
        ("mindspore/1.10/a.md", {"mindspore_version": '"1.10"'}, True),
        ("a.md", {"repo_link": "<https://gitee.com/a/b/tree/r2.5/c>"}, True),
        ("a.md", {"repo_link": "<https://gitee.com/a/b/tree/r2.4/c>"}, False),
        ("a.md", {"repo_link": "<https://gitee.com/a/b/tree/v0.5.0/c>"}, True),
    ],
)  # fmt: skip
def test_one_card_is_of_one_release(path, values, fine):
    text = card(**{"mindspore_version": "2.5", **values})
    assert bool(check(text, path, select=["release-mismatch"])) != fine


def test_the_release_in_the_requirements_may_say_more():
    header, text = ["mindspore", "ascend driver"], card(mindspore_version="2.5")
    assert check(with_body(table(header, ["2.5.0", "24.1.0"]), text), select=["release-mismatch"]) == []
    assert len(check(with_body(table(header, ["2.3.1", "24.1.0"]), text), select=["release-mismatch"])) == 1


@pytest.mark.parametrize(
    ("name", "fine"), [("tiny", True), ("xcit", True), ("Tiny-Net", True), ("FDA-BNN", False), ("bert", False)]
)
def test_the_implementation_is_that_of_the_model_its_backbone_or_its_folder(name, fine):
    link = "<https://gitee.com/a/b/tree/r2.5/research/xcit>"
    text = card(model_name="tiny", backbone_name="TinyNet", repo_link=link)
    sentence = f"This MindSpore Hub model uses the\nimplementation of {name} from the MindSpore model zoo."
    assert bool(check(with_body(sentence, text), select=["implementation-mismatch"])) != fine


def test_devices_outside_of_code_are_left_alone():
    assert check(with_body('device_target="ASCEND"'), select=["device-target-unknown"]) == []
    assert check(with_body('```\na(device_target="GPU")\n```'), select=["device-target-unknown"]) == []
    assert len(check(with_body('```\na(device_target="ASCEND")\n```'), select=["device-target-unknown"])) == 1
