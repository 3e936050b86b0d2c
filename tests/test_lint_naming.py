"""Rules of the family naming."""

import re

import pytest
from linting import check, fixed, good_card

from hubpkg.lint import naming


def card(**values):
    text = good_card(3)[1]
    for key, new in values.items():
        name = key.replace("_", "-")
        text, count = re.subn(rf"^({name}: ).*$", lambda m, n=new: m[1] + n, text, count=1, flags=re.MULTILINE)
        assert count == 1
    return re.sub("^# .*", f"# {values['model_name']}", text) if "model_name" in values else text


@pytest.mark.parametrize(
    ("file", "model", "dataset", "fine"),
    [
        ("resnet50_imagenet2012", "resnet50", "ImageNet2012", True),
        ("yolov4_shape416_coco2017", "yolov4", "coco2017", True),
        ("squeezenetresidual_cifar10", "squeezenet", "cifar10", True),
        ("ktnet_squad", "ktnet", "SQuAD1.1", True),
        ("fasttext_agnews", "fasttext", "AG's News Topic Classification Dataset", True),
        ("ghostnet_v1.0_oxford_pets", "GhostNet", "Oxford-IIIT Pet", True),
        ("cogview", "CogView4", "N/A", False),
        ("cogview", "CogView", "N/A", True),
        ("gan_G_mnist", "gan", "mnist", True),
        ("textcrnn_gru_polarity", "textrcnn", "polarity", False),
        ("resnet50_cifar10", "resnet50", "imagenet2012", False),
        ("dit", "dit", "ImageNet", False),
        ("resnet_cn", "resnet", "cifar10", True),  # the English card is told
    ],
)
def test_a_card_is_named_by_model_and_dataset(file, model, dataset, fine):
    link = "<https://github.com/a/b/tree/v1/none_of_them>"
    text = card(model_name=model, backbone_name=model, train_dataset=dataset, repo_link=link)
    assert bool(check(text, f"{file}.md", select=["file-name-mismatch"])) != fine


@pytest.mark.parametrize(
    ("path", "uid", "fine"),
    [
        ("hub/mindspore/2.5/a_mnist.md", "mindspore/2.5/a_mnist", True),
        ("2.5/a_mnist.md", "mindspore/2.5/a_mnist", True),
        ("cards/a_mnist.md", "mindspore/2.5/a_mnist", True),
        ("cards/a_mnist.md", "mindspore/2.3/a_mnist", False),
        ("noah/gpu/2.5/a_mnist.md", "noah/gpu/2.5/a_mnist", True),
        ("noah/gpu/2.5/a_mnist.md", "mindspore/gpu/2.5/a_mnist", False),
        ("mindspore/2.5/a_mnist_cn.md", "mindspore/2.5/a_mnist", True),
        ("mindspore/2.5/a_mnist.md", "mindspore/2.5/a_mnist.md", False),
        ("mindspore/2.5/a_mnist.md", "mindspore/2.5/a_cifar10", False),
        ("-", "mindspore/2.5/a_cifar10", True),
    ],
)
def test_the_example_loads_this_card(path, uid, fine):
    text = card(mindspore_version="2.5") + f'\n```python\nmodel = "{uid}"\nnetwork = mshub.load(model)\n```\n'
    assert bool(check(text, path, select=["uid-mismatch"])) != fine


@pytest.mark.parametrize(
    ("dataset", "mended"),
    [("COCO2017", "coco2017"), ("AclImdb_v1", "aclimdbv1"), ("MVtecAD_metal_nut", "mvtecadmetalnut"),
     ("digits", "digits"),
     ("N/A", "N/A"), ("mnist", "mnist"), ("ImageNet2012", "ImageNet2012"), ("mnist_cifar10", "mnist_cifar10")],
)  # fmt: skip
def test_a_listed_name_in_other_letters_is_mended(dataset, mended):
    assert fixed(card(train_dataset=dataset), ["dataset-unlisted"]) == card(train_dataset=mended)


def test_what_is_mended_is_listed():
    assert {"mnist", "cifar10", "ImageNet2012", "AVA_Dataset"} <= naming.datasets()
    assert not check(card(train_dataset="mnist_cifar10"), select=["dataset-unlisted"])
    assert check(card(train_dataset="AVA_Dataset"), select=["dataset-unlisted"])  # the hub splits it
