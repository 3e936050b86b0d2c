"""Rules of the family asset: what is told, what is mended, and what is left alone."""

import re

import pytest
from linting import check, fixed, good_card, line_of

from hubpkg.lint import engine
from hubpkg.lint.rules import Options, rules
from hubpkg.lint.source import Card, encode

DIGEST = "92c14388fdf4ea90811de5031652b2e58570a5abf7c3653b0e958fb0e30f3546"


def found(rule, **values):
    """The places at which a rule finds something on a card with other values."""
    text = good_card(3)[1]
    for key, new in values.items():
        name = key.replace("_", "-")
        text, count = re.subn(rf"^([- ]*{name}: ).*$", lambda m, n=new: m[1] + n, text, count=1, flags=re.MULTILINE)
        assert count == 1
    return check(text, select=[rule])


def test_upper_case_digits_are_mended_and_others_are_not():
    text = good_card(3)[1]
    digest = re.search(r"asset-sha256: (\w+)", text)[1]
    assert fixed(text.replace(digest, digest.upper()), ["asset-sha256-format"]) == text
    quoted = text.replace(digest + "\n", f'"{digest}"\n')
    assert fixed(quoted.replace(digest + '"', digest.upper() + '"'), ["asset-sha256-format"]) == quoted
    wrong = text.replace(f"asset-sha256: {digest}", f"asset-sha256: {digest[:-1]}g")
    assert fixed(wrong, ["asset-sha256-format"]) == wrong


def with_assets(*lines):
    """A good card with other lines below ``asset:``; L, D and S stand for its link, its digest, and 8 digits of it."""
    text = good_card(3)[1]
    link, digest = re.search(r"asset-link: (.*)\n", text)[1], re.search(r"asset-sha256: (\w+)", text)[1]
    new = "\n".join(("asset:", *lines, "")).replace("L", link).replace("D", digest).replace("S", digest[:8])
    return re.sub(r"^asset:\n\n(?:[- ].*\n)+", lambda _: new, text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "lines",
    [
        ["- file-format: ckpt", "  asset-link: L", "  asset-sha256: D"],
        ["", "  -", "    file-format: ckpt", "    asset-link: L", "    asset-sha256: D"],
        ["- asset-sha256: D # as text", "", "  asset-link: L", "", "  file-format: CKPT"],
        ["- {file-format: ckpt, asset-link: 'L', asset-sha256: D}"],
        ["- file-format: ckpt", "  asset-link:", "    L", '  asset-sha256: "D"'],
        ["- file-format: mindir", "  asset-link: <https://a.example/tiny-S.mindir>", "  asset-sha256: D",
         "- file-format: ckpt", "  asset-link: L", "  asset-sha256: D"],
    ],
)  # fmt: skip
def test_assets_may_be_written_in_several_ways(lines):
    assert check(with_assets(*lines), good_card(3)[0]) == []


@pytest.mark.parametrize(
    ("lines", "rule", "line"),
    [
        (["- file-format: ckpt", "  asset-link: L", "  asset-sha256: D", "- file-format: onnx",
          "  asset-link: <https://a.example/x-S.onnx>", "  asset-sha256: S"], "asset-sha256-length", 6),
        (["- file-format: ckpt", "  asset-link: L", "  asset-sha256: D", "- file-format: ckpt",
          "  asset-link: <https://a.example/x-S.ckpt>", "  asset-sha256: D"], "asset-link-not-in-body", 5),
        (["- file-format：ckpt", "  asset-link：L", "  asset-sha256：D"], "asset-missing-field", 1),
        (["- file-format: ckpt", "  asset_link: L", "  asset-sha256: D"], "unknown-field", 2),
        (["- file-format: ckpt", "  asset-link: L", "  asset-sha256: D", "  asset-sha256: D"], "duplicate-key", 4),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_asset_is_told_in_its_line(lines, rule, line):
    text = with_assets(*lines)
    assert (rule, line_of(text, "\nasset:") + 1 + line) in {(name, at) for name, at, _ in check(text)}


def test_a_digest_of_digits_alone_is_read_as_text():
    assert found("asset-sha256-length", asset_sha256="01234567")
    assert not found("asset-sha256-length", asset_sha256="0123456789" * 6 + "0123")


@pytest.mark.parametrize(
    ("name", "fine"),
    [
        (f"tiny-{DIGEST[:8]}.ckpt", True),
        (f"tiny-{DIGEST[:8]}-910v2.ckpt", True),
        ("tiny-0a1b2c3d.ckpt", False),
        ("tiny.ckpt", False),
        ("tiny_ascend_v190_mnist_official_cv_acc98.ckpt", True),
        ("tiny_ascend_v190_mnist-0a1b2c3d.ckpt", False),
        ("tiny_20230217.ckpt", False),
    ],
)
def test_the_name_holds_the_digest_or_is_of_the_older_custom(name, fine):
    link = f"<https://example.com/{name}>"
    assert bool(found("asset-hash-not-in-name", asset_link=link, asset_sha256=DIGEST)) != fine


@pytest.mark.parametrize(
    ("form", "file", "fine"),
    [
        ("ckpt", "a.ckpt", True),
        ("CKPT", "a.ckpt", True),
        ("onnx", "a.onnx", False),  # alone, it is nothing to load
        ("ckpt", "a.onnx", False),
        ("mslite", "a.ms", False),
        ("zip", "a.zip", False),
        ("ckpt", "a.ckpt?download=1", True),
    ],
)
def test_the_format_is_that_of_the_file_and_can_be_loaded(form, file, fine):
    hits = found("asset-format-unloadable", file_format=form, asset_link=f"<https://example.com/{file}>")
    assert bool(hits) != fine


def test_a_model_for_phones_beside_a_checkpoint_is_fine():
    text = good_card(3)[1]
    more = (
        "\n- file-format: mslite\n  asset-link: <https://example.com/a-92c14388.ms>\n"
        f"  asset-sha256: {DIGEST}\n\nlicense: "
    )
    text = re.sub(
        r"-\n    file-format: (.*)\n    asset-link: (.*)\n    asset",
        r"- file-format: \1\n  asset-link: \2\n  asset",
        text,
    )
    assert check(text.replace("\n\nlicense: ", more, 1), select=["asset-format-unloadable", "yaml-invalid"]) == []


@pytest.mark.parametrize(
    ("evaluation", "name", "fine"),
    [
        ("top1acc79.54", "net_ascend_v250_imagenet_cv_top1acc79.54.ckpt", True),
        ("top1acc79.5", "net_ascend_v250_imagenet_cv_top1acc79.54.ckpt", True),
        ("top1acc80.04", "net_ascend_v250_imagenet_cv_top1acc79.54.ckpt", False),
        ("acc98.1", "net_ascend_v250_imagenet_cv_top1acc79.54.ckpt", True),
        ("mAP46.6", "yolov3_300e_mAP455-81895f09-910v2.ckpt", False),
        ("mAP46.6", "yolov3_300e_mAP466-81895f09-910v2.ckpt", True),
        ("acc98", "net_ascend_V190_mnist_acc98.ckpt", False),
    ],
)
def test_the_name_of_the_file_states_what_the_card_states(evaluation, name, fine):
    link = f"<https://example.com/{name}>"
    hits = found("asset-name-mismatch", evaluation=evaluation, asset_link=link, mindspore_version="2.5")
    assert bool(hits) != fine


def test_a_card_without_links_to_weights_is_left_alone():
    text = good_card(3)[1]
    assert check(re.sub(r"\[weights\]\(\S*\)", "weights", text), select=["asset-link-not-in-body"]) == []


def shared(*cards):
    given = [Card(path, encode(text)) for path, text in cards]
    [rule] = [rule for rule in rules().values() if rule.name == "shared-digest"]
    return [card.path for card, _, _ in engine.check(given, [rule], Options())]


def test_one_model_by_two_publishers_is_left_alone():
    text = good_card(3)[1]
    one = re.sub(r"model-name: .*", "model-name: hournas", text)
    two = re.sub(r"model-name: .*", "model-name: HourNAS-F", text)
    assert shared(("a/1.1/HourNAS-F_v1.0_cifar10.md", two), ("b/1.3/hournas_cifar10.md", one)) == []
    assert len(shared(("a/1.1/HourNAS-F_v1.0_cifar10.md", two), ("a/1.3/hournas_cifar10.md", one))) == 2


@pytest.mark.parametrize("release", ["v190", "v1.9", "v1.9.0"])
def test_a_name_of_the_older_custom_tells_its_release_with_or_without_points(release):
    text = (
        "# tiny\n\n---\n\nmindspore-version: 1.9\n\nasset:\n-\n"
        f"    asset-link: <https://example.com/tiny_ascend_{release}_digits_acc90.ckpt>\n"
        f"    asset-sha256: {'0a' * 32}\n\n---\n"
    )
    named = ["asset-hash-not-in-name", "asset-name-mismatch"]
    assert check(text, select=named) == []
    assert [name for name, *_ in check(text.replace("version: 1.9", "version: 1.8"), select=named)] == named[1:]
