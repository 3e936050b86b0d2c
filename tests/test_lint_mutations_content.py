"""Good cards, each with one thing made wrong: the rule finds it, on the right line.

Families asset, evaluation, consistency, link, naming and hub.
"""

import functools
import hashlib
import json
import random
import re

import pytest
from conftest import ROOT
from linting import good_card, line_of, names
from loopback import Server

from hubpkg import card as cards
from hubpkg.lint import engine, online
from hubpkg.lint.rules import Options, rules
from hubpkg.lint.source import Card, encode

SEEDS = range(24)
FAMILIES = ("asset", "evaluation", "consistency", "link", "naming", "hub")
RENDERED = "tiny_digits.md", cards.render(json.loads((ROOT / "tests" / "data" / "manifest.json").read_text("utf-8")))


def value(text, key, new):
    """The text with another value of ``key``, made of the old one by ``new``, and the key's line."""
    changed, count = re.subn(
        rf"^([- ]*{key}: )(.*)$", lambda match: match[1] + new(match[2]), text, count=1, flags=re.MULTILINE
    )
    assert count == 1, key
    return changed, line_of(text, f"{key}: ")


def get(text, key):
    return re.search(rf"^[- ]*{key}: <?(.*?)>?$", text, re.MULTILINE)[1].strip('"')


def after(text, part, new):
    """The text with ``new`` in a line of its own after the line of ``part``, and its number."""
    line = line_of(text, part)
    lines = text.split("\n")
    lines[line:line] = ["", new, ""]
    return "\n".join(lines), line + 2


def row(text):
    """The row of the model in the table, and its number."""
    line = line_of(text, "[weights]")
    return text.split("\n")[line - 1], line


def cell(text, column, new):
    """The text with another cell in the model's row, made of the old one by ``new``, and the row's line."""
    found, line = row(text)
    header = [name.strip() for name in text.split("\n")[line - 3].split("|")]
    parts = found.split("|")
    index = header.index(column)
    parts[index] = f" {new(parts[index].strip())} "
    return text.replace(found, "|".join(parts)), line


def asset_sha256_length(text, chance):
    length = chance.choice([1, 7, 8, 9, 40, 63])
    return value(text, "asset-sha256", lambda old: old[:length] if chance.randrange(4) else f"{old}0")


def asset_sha256_format(text, chance):
    at = chance.randrange(64)
    wrong = chance.choice("gxzZ_O")
    if chance.randrange(2):
        return value(text, "asset-sha256", lambda old: f"a{old[1:]}".upper())
    return value(text, "asset-sha256", lambda old: f"{old[:at]}{wrong}{old[at + 1 :]}")


def asset_missing_field(text, chance):
    key = chance.choice(["file-format", "asset-link", "asset-sha256"])
    if chance.randrange(2):
        changed, line = value(text, key, lambda _: "")
        return changed, line
    if key == "file-format":
        line = line_of(text, "file-format: ")
        return text.replace("file-format: ckpt", "other: ckpt"), {line - 1, line}
    lines = text.split("\n")
    start = line_of(text, "file-format: ")
    del lines[line_of(text, f"{key}: ") - 1]
    return "\n".join(lines), {start, start - 1}


def asset_format_unloadable(text, chance):
    if chance.randrange(2):
        form = chance.choice(["pth", "safetensors", "tar", "mindir", "onnx", "air", "h5", "CKPTS"])
        line = line_of(text, "file-format: ")
        return value(text, "file-format", lambda _: form)[0], {line, line + 1}
    suffix = chance.choice([".pth", ".tar.gz", ".onnx", ".ckpt.zip", "", ".bin"])
    return value(text, "asset-link", lambda old: old.replace(".ckpt", suffix))


def asset_hash_not_in_name(text, chance):
    digest = get(text, "asset-sha256")
    other = chance.choice(["", "-best", f"-{chance.randrange(16**8):08x}", "-v2", "_final"])
    return value(text, "asset-link", lambda old: old.replace(f"-{digest[:8]}", other))


def asset_link_not_in_body(text, chance):
    found, _ = row(text)
    other = found.replace(".ckpt", chance.choice(["_best.ckpt", "-v2.ckpt", ".onnx", f"{chance.randrange(99)}.ckpt"]))
    return text.replace(found, other), line_of(text, "asset-link: ")


def asset_name_mismatch(text, chance):
    release = get(text, "mindspore-version")
    digits, top1 = release.replace(".", ""), get(text, "evaluation").split(" ")[0]
    if chance.randrange(2):
        name = f"net_ascend_v{digits}{chance.randrange(1, 9)}_mnist_{top1}.ckpt"
    else:
        name = f"net_ascend_v{digits}_mnist_official_cv_top1acc{chance.uniform(1, 59):.2f}.ckpt"
    return value(text, "asset-link", lambda _: f"<https://download.mindspore.cn/models/{name}>")


def evaluation_syntax(text, chance):
    return value(
        text,
        "evaluation",
        lambda old: chance.choice(
            [old.replace(" | ", chance.choice([", ", " ", "; "])), old.replace("acc", "acc ", 1), f"{old} |", "77.27",
             f"{old}%", old.replace(".", ",", 1), "high", "none", old.replace("top1acc", "")]
        ),
    )  # fmt: skip


def evaluation_duplicate_metric(text, chance):
    kind = chance.randrange(3)
    if kind == 0:
        return value(text, "evaluation", lambda old: old.replace("top5acc", "top1acc"))
    if kind == 1:
        return value(text, "evaluation", lambda old: f"{old} | {chance.choice(old.split(' | '))}")
    return value(text, "evaluation", lambda old: f"{old} | TOP1acc{chance.uniform(1, 99):.2f}")


def evaluation_range(text, chance):
    kind = chance.randrange(3)
    if kind == 0:
        return value(text, "evaluation", lambda old: old.replace(".", "", 1))
    if kind == 1:
        return value(text, "evaluation", lambda _: f"top1acc0.{chance.randrange(1000, 9999)}")
    number = chance.choice(["-1", "101", "7727", "-0.5"])
    return after(text, "license: ", f"accuracy: {number}")


def metric_name_unknown(text, chance):
    wrong = chance.choice(
        ["top1caa", "tpo1ac", "top1ac", "topl1cac", "foo", "psnr", "miou", "BLUE", "ssim", "mape", "quality", "f1score"]
    )
    return value(text, "evaluation", lambda _: f"{wrong}{chance.uniform(1, 99):.2f}")


def evaluation_table_mismatch(text, chance):
    kind = chance.randrange(3)
    wrong = f"{chance.uniform(1, 59):.2f}"
    if kind == 0:  # found by the asset's link
        return value(text, "evaluation", lambda old: f"top1acc{wrong} | {old.split(' | ')[1]}")
    if kind == 1:  # by the file's name
        text = text.replace("(https://download-mindspore", "(https://mirror")
        return cell(text, "acc@top1", lambda _: wrong)[0], line_of(text, "evaluation: ")
    changed = re.sub(r"\[weights\]\(\S*\)", "weights", text)  # by the model's name
    changed = changed.replace("\n## Quick", f"\n| model | acc |\n|---|---|\n| other | {wrong} |\n\n## Quick")
    found, _ = value(changed, "evaluation", lambda old: f"{old.split(' | ')[0]} | top5acc{wrong}")
    return found, line_of(found, "evaluation: ")


def evaluation_order(text, chance):
    low, high = sorted(f"{chance.uniform(10, 99):.2f}" for _ in range(2))
    form = chance.choice(["top1acc{} | top5acc{}", "top5acc{} | top10acc{}", "rank1acc{} | rank5acc{}"])
    return value(text, "evaluation", lambda _: form.format(high, low))


def throughput_mismatch(text, chance):
    column = chance.choice(["cards", "batch size", "ms/step", "img/s"])
    factor = chance.choice([2, 3, 10])
    return cell(text, column, lambda old: str(float(old) * factor) if "." in old else str(int(old) * factor))


def parameters_mismatch(text, chance):
    stated = float(cell(text, "params(M)", str)[0] and re.search(r"\| [\w.]+ \| ([\d.]+) \|", text)[1])
    wrong = f"{stated * chance.choice([0.5, 1.3, 2]):.1f}"
    if chance.randrange(2):
        model = get(text, "model-name")
        unit = chance.choice(["M", " M", " million"])
        return after(text, "## Introduction", f"Its network {model} has {wrong}{unit} parameters.")
    found, line = row(text)
    header = "\n".join(text.split("\n")[line - 3 : line - 1])
    other = "|".join([*found.split("|")[:2], f" {wrong} ", *found.split("|")[3:]])
    changed = text.replace("## Quick Start", f"{header}\n{other}\n\n## Quick Start")
    return changed, line_of(changed, other)


def title_mismatch(text, chance):
    title = chance.choice(["resnet101d", "A paper's network", "mobilenet_v3", "bert base", "GPT-3", "yolov4"])
    return f"# {title}\n" + text.partition("\n")[2], 1


def recipe_mismatch(text, chance):
    backbone, model = get(text, "backbone-name"), get(text, "model-name")
    link = f"[yaml](https://github.com/a/b/blob/v1/configs/{backbone}/{model}_ascend.yaml)"
    text = text.replace("[weights]", f"{link} [weights]")
    wrong = chance.choice([f"{model}.yaml", f"{model}_gpu.yaml", f"{backbone}_18_ascend.yaml", f"x{model}_ascend.yaml"])
    command = f"python train.py --config configs/{backbone}/"
    return text.replace(f"{command}{model}_ascend.yaml", f"{command}{wrong}"), line_of(text, command)


def release_mismatch(text, chance):
    other = chance.choice(["1.3", "1.8", "2.2", "2.9"])
    kind = chance.randrange(4)
    if kind == 0:
        return value(text, "repo-link", lambda _: f"<https://gitee.com/mindspore/models/tree/r{other}/cv/net>")
    if kind == 1:
        return value(text, "asset-link", lambda _: f"<https://download.mindspore.cn/models/r{other}/net.ckpt>")
    if kind == 2:
        table = f"| mindspore | ascend driver |\n|---|---|\n| {other}.0 | 24.1.0 |\n\n"
        changed = text.replace("## Introduction", f"{table}## Introduction")
        return changed, line_of(changed, f"| {other}.0")
    return text, line_of(text, "mindspore-version: "), f"mindspore/{other}"


def implementation_mismatch(text, chance):
    other = chance.choice(["FDA-BNN", "bert", "GhostNet", "yolov5", "wide_and_deep"])
    sentence = f"This MindSpore Hub model uses the implementation of {other} from the MindSpore model zoo."
    return after(text, "## Introduction", sentence)


def device_target_unknown(text, chance):
    wrong = chance.choice(["ASCEND", "ascend", "gpu", "NPU", "cuda", "Ascend910", "cpu", ""])
    mark = chance.choice("\"'")
    line = f"context.set_context(device_target={mark}{wrong}{mark})"
    changed = text.replace("## References", f"```python\n{line}\n```\n\n## References")
    return changed, line_of(changed, line)


def repo_link_shape(text, chance):
    return value(
        text,
        "repo-link",
        lambda old: chance.choice(
            [old.replace(">", "/>"), old.replace("/tree/", chance.choice(["/blob/", "/", "/commit/"])), "github.com/a",
             old.replace(".com", chance.choice([".org", ".cn"])), "<https://github.com/a/b>", "<https://github.com/a/b/c>",
             old.replace("/tree/", "/tree /"), "<https://github.com/a/b/tree/v1/..>", "ssh://git@github.com/a/b/tree/c/d"]
        ),
    )  # fmt: skip


def repo_link_moving_branch(text, chance):
    branch = chance.choice(["master", "main", "dev", "develop", "HEAD", "latest"])
    if not chance.randrange(4):
        return value(text, "repo-link", lambda _: f"<https://github.com/a/b{chance.randrange(99)}>")
    return value(text, "repo-link", lambda old: old.replace("v0.5.0", branch))


def dead_anchor(text, chance):
    if chance.randrange(2):
        return text.replace("## Performance", chance.choice(["## Speed", "Performance", "## Performances"])), line_of(
            text, "(#performance)"
        )
    gone = chance.choice(
        ["[1](#citation)", '<a href="#citation">1</a>', "[1](#reference)", "[a](#34-x)", "[标题](#标题)"]
    )
    return after(text, "## Introduction", gone)


def relative_link(text, chance):
    link = chance.choice(
        ["[a](./a.yaml)", "[a](../../b.md)", "![a](img/x.png)", '<img src="a.png">', "[a](LICENSE)", "[a]: docs/x.md",
         "[a](/docs/a)", "[a](a%20b.md#part)", "<img src='x/y.svg' width=1>"]
    )  # fmt: skip
    return *after(text, "## Introduction", link), "no/such/folder"


def body_link_moving_branch(text, chance):
    branch = chance.choice(["master", "main", "dev", "HEAD"])
    kind = chance.choice(["blob", "tree"])
    return after(text, "## Introduction", f"[a](https://github.com/mindspore-lab/mindcv/{kind}/{branch}/config.py)")


def link_malformed(text, chance):
    link = chance.choice(
        ["[a]()", "[a]((https://arxiv.org/abs/1))", "[a](http:/arxiv.org)", "[a](https//arxiv.org)", "![a]()", "[a]( )",
         "[a](https://https://arxiv.org/a)", "[a](htpp://arxiv.org)", "[a](hhttps://arxiv.org)", '<img src="">']
    )  # fmt: skip
    return after(text, "## Introduction", link)


def file_name_mismatch(text, chance):
    if chance.randrange(2):
        return value(text, "train-dataset", lambda _: chance.choice(["coco2017", "voc2012", "squad", "N2"]))
    changed = re.sub(r"^# .*", "# gpt3", text).replace(f"configs/{get(text, 'backbone-name')}>", "configs/gpt>")
    changed, _ = value(changed, "backbone-name", lambda _: "gpt")
    return value(changed, "model-name", lambda _: chance.choice(["gpt3", "gpt_neo", "gptj"]))


def uid_mismatch(text, chance):
    name = f"{get(text, 'model-name')}_{get(text, 'train-dataset')}"
    release = get(text, "mindspore-version")
    wrong = chance.choice(
        [f"mindspore/{release}/{name.replace('_', '')}", f"mindspore/9.9/{name}", f"mindspore/{release}/{name}.md",
         f"mindspore/{release}/x{name}", f"mindspore/gpu/{release}/alexnet_cifar10"]
    )  # fmt: skip
    changed = text.replace(
        "## References", f'```python\nmodel = "{wrong}"\nnetwork = mshub.load(model)\n```\n\n## References'
    )
    return changed, line_of(changed, 'model = "')


def dataset_unlisted(text, chance):
    return value(
        text,
        "train-dataset",
        lambda old: chance.choice([f"{old}x", f"{old}_digits", "digits", "COCO2017", "N/A", "AVA_Dataset", f"{old}2"]),
    )  # fmt: skip


def hub_front_matter(text, chance):
    kind = chance.randrange(4)
    if kind == 0:
        return after(
            text, chance.choice(["## Introduction", "## References"]), chance.choice(["---", "--- a", "-----"])
        )
    if kind == 1:
        return text.replace("---\n", "", 1), 1
    if kind == 2:
        return value(text, "author", lambda old: f"{old}: more")
    return value(text, "summary", lambda _: chance.choice(["[a", "'a", "{a", "`a", "@a", "%a", "*a"]))


def hub_missing_field(text, chance):
    key = chance.choice(["license", "summary", "author", "user-id", "used-for", "backbone-name", "mindspore-version"])
    return re.sub(rf"^{key}: .*\n\n", "", text, count=1, flags=re.MULTILINE), 4


def hub_value(text, chance):
    key, new = chance.choice(
        [("module-type", "vision"), ("module-type", "12"), ("fine-tunable", "1"), ("fine-tunable", "maybe"),
         ("used-for", "training"), ("used-for", "inference, extract-feature"), ("used-for", "inference/"),
         ("train-dataset", "[mnist]"), ("train-dataset", "12")]
    )  # fmt: skip
    return value(text, key, lambda _: new)


def hub_colon(text, chance):
    key = chance.choice(["author", "summary", "license", "user-id", "backbone-name"])
    return value(text, key, lambda old: chance.choice([f"'{old}: a'", f"{old}:a", f'"a: {old}"', f"a:{old}"]))


def hub_repo_link(text, chance):
    return value(
        text,
        "repo-link",
        lambda old: chance.choice(
            [old.replace(".com", chance.choice([".org", ".cn", ".io"])), old.replace("/tree/", "/commits/"),
             "github.com/a/b", "<https://github.com/a>", "<https://github.com/a/b/c>", "[a]", f"<https://a.org/b/tree/c/{chance.randrange(99)}>"]
        ),
    )  # fmt: skip


def hub_asset(text, chance):
    kind = chance.randrange(2)
    line = line_of(text, "file-format: ")
    if kind == 0:
        form = chance.choice(["pth", "safetensors", "h5", "tar", "CKPTS", "[ckpt]", "12"])
        return value(text, "file-format", lambda _: form)[0], {line - 1, line}
    key = chance.choice(["file-format", "asset-link", "asset-sha256"])
    return text.replace(f"{key}: ", f"{chance.choice(['x', 'my', 'the'])}-{key}: "), {line - 1, line}


def hub_heading(text, chance):
    heading = chance.choice(["## Introduction", "## Performance", "### Training", "## References"])
    kind = chance.choice([f"{heading}:", f"{heading}: ##", f"> {heading}:", f"   {heading}:"])
    return text.replace(heading, kind), line_of(text, heading)


MUTATIONS = {
    name.replace("_", "-"): function
    for name, function in list(globals().items())
    if callable(function) and name.replace("_", "-") in {rule for family in FAMILIES for rule in names(family)}
}
# Of several cards: the text of another card, its name, and the line on which the first card is told.
COLLECTIONS = {
    *("shared-digest", "shared-digest-evaluation", "twin-mismatch", "near-duplicate-name", "hub-english-card"),
    "dead-link",
}


def lint(given, rule, **options):
    [found] = [known for known in rules().values() if known.name == rule]
    target = "hub" if found.targets == ("hub",) else "hubpkg"
    reports = engine.check(
        [Card(path, encode(text)) for path, text in given], [found], Options(target=target, **options)
    )
    return [(card.path, card.position(finding.start).line) for card, _, finding in reports]


def test_each_rule_of_these_families_has_mutations():
    expected = {rule for family in FAMILIES for rule in names(family)}
    assert set(MUTATIONS) | COLLECTIONS | {"entrypoint-missing", "asset-digest-mismatch"} == expected


@pytest.mark.parametrize("rule", MUTATIONS)
def test_each_mutation_is_found_on_its_line(rule):
    different = set()
    for seed in SEEDS:
        name, text = good_card(seed)
        assert lint([(name, text)], rule) == []
        chance = random.Random(f"{rule} {seed}")  # noqa: S311 - the same each time
        mutated, line, *folder = MUTATIONS[rule](text, chance)
        name = "/".join([*folder, name])
        assert (mutated, folder) != (text, [])
        different.add((mutated, *folder))
        found = {where for _, where in lint([(name, mutated)], rule)}
        expected = line if isinstance(line, set) else {line}
        assert found & expected, (seed, line, found, mutated)
    assert len(different) >= 20


@pytest.mark.parametrize("rule", sorted(MUTATIONS))
def test_nothing_is_found_on_the_card_that_hubpkg_makes(rule):
    assert lint([RENDERED], rule) == []


@pytest.mark.parametrize(
    "rule",
    [
        *("asset-sha256-length", "asset-sha256-format", "asset-hash-not-in-name", "asset-link-not-in-body"),
        *("evaluation-syntax", "evaluation-duplicate-metric", "evaluation-table-mismatch"),
        *("throughput-mismatch", "title-mismatch"),
    ],
)
def test_mutations_of_the_card_that_hubpkg_makes_are_found(rule):
    name, text = RENDERED
    for seed in SEEDS:
        mutated, line = MUTATIONS[rule](text, random.Random(f"{rule} {seed}"))  # noqa: S311 - the same each time
        assert line in {where for _, where in lint([(name, mutated)], rule)}, (seed, line, mutated)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_cards_with_one_digest_are_found(seed):
    (name, text), (other, second) = good_card(seed), good_card(seed + 100)
    assert lint([(name, text), (other, second)], "shared-digest") == []
    second = second.replace(get(second, "asset-sha256"), get(text, "asset-sha256"))
    line = line_of(text, "asset-sha256: ")
    assert (name, line) in lint([(name, text), (other, second)], "shared-digest")
    again = [(f"a/2.5/{name}", text), (f"a/2.6/{name}", text)]
    assert lint(again, "shared-digest") == []


@pytest.mark.parametrize("seed", SEEDS)
def test_one_file_with_two_evaluations_is_found(seed):
    name, text = good_card(seed)
    changed, line = value(text, "evaluation", lambda old: re.sub(r"top1acc[\d.]+", f"top1acc{50 + seed / 10:.2f}", old))
    assert lint([(f"a/2.5/{name}", text), (f"a/2.6/{name}", text)], "shared-digest-evaluation") == []
    found = lint([(f"a/2.5/{name}", text), (f"a/2.6/{name}", changed)], "shared-digest-evaluation")
    assert found == [(f"a/2.6/{name}", line)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chinese_card_that_says_something_else_is_found(seed):
    name, text = good_card(seed)
    chinese = name.removesuffix(".md") + "_cn.md"
    assert lint([(name, text), (chinese, text)], "twin-mismatch") == []
    key, new = [
        ("asset-sha256", "0" * 64), ("asset-link", "<https://example.com/a.ckpt>"), ("evaluation", "top1acc1.00"),
        ("model-name", "other"), ("mindspore-version", "0.1"), ("repo-link", "<https://example.com/a>"),
    ][seed % 6]  # fmt: skip
    changed, line = value(text, key, lambda _: new)
    assert lint([(name, text), (chinese, changed)], "twin-mismatch") == [(chinese, line)]


@pytest.mark.parametrize("seed", SEEDS)
def test_two_spellings_of_a_name_are_found(seed):
    name, text = good_card(seed)
    stem = name.removesuffix(".md")
    other = [stem.replace("_", "-"), stem.upper(), stem.replace("_", "", 1), stem.replace("_", "__")][seed % 4]
    folder = ["a/2.5", "a/2.6"][seed % 2]
    found = lint([(f"a/2.5/{name}", text), (f"{folder}/{other}.md", text)], "near-duplicate-name")
    assert found == [(f"a/2.5/{name}", 1), (f"{folder}/{other}.md", 1)]
    assert lint([(f"a/2.5/{name}", text), (f"b/2.5/{other}.md", text)], "near-duplicate-name") == []
    assert lint([(f"a/2.5/{name}", text), (f"a/2.6/{name}", text)], "near-duplicate-name") == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chinese_card_whose_english_one_the_hub_rejects_is_found(seed):
    name, text = good_card(seed)
    chinese = name.removesuffix(".md") + "_cn.md"
    mutations = [hub_missing_field, hub_value, hub_colon, hub_repo_link, hub_asset, hub_heading, dataset_unlisted]
    changed = mutations[seed % 7](text, random.Random(seed))[0]  # noqa: S311 - the same each time
    assert lint([(name, text), (chinese, text)], "hub-english-card") == []
    assert lint([(name, changed), (chinese, text)], "hub-english-card") == [(chinese, 1)]
    assert lint([(chinese, text)], "hub-english-card") == [(chinese, 1)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_folder_without_an_entrypoint_is_found(tmp_path, seed):
    name, text = good_card(seed)
    folder = tmp_path / ["configs", "mindcv/configs", "."][seed % 3] / get(text, "backbone-name")
    line = line_of(text, "repo-link: ")

    def found():
        return lint([(name, text)], "entrypoint-missing", checkout=tmp_path)

    assert found() == [(name, line)]
    folder.mkdir(parents=True)
    assert found() == [(name, line)]
    conf = folder / "mindspore_hub_conf.py"
    conf.write_text(["def create_net(name): ...", "create_network(", "x = 1", "\0"][seed % 4], encoding="utf-8")
    assert found() == [(name, line)]
    good = ["def create_network(name): ...", "from a import b as create_network", "create_network = x"][seed % 3]
    conf.write_text(good, encoding="utf-8")
    assert found() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_link_that_leads_nowhere_is_found(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))
    # Else the server, which is of this machine, would not be asked.
    monkeypatch.setattr(online, "check_links", functools.partial(online.check_links, public_only=False))
    monkeypatch.setattr(online, "_PAUSE_SECONDS", 0)

    def answer(exchange):
        status = ["404 Not Found", "410 Gone"][seed % 2] if "gone" in exchange.path else "200 OK"
        exchange.head(status, Content_Length=0)

    with Server(answer) as server:
        name, text = good_card(seed)
        text = re.sub(r"https://[^/\s]+/", server.url("/"), text)
        part, new = [
            ("repo-link: ", lambda line: line.replace("/configs/", "/gone/")),
            ("asset-link: ", lambda line: line.replace("toolkits", "gone")),
            ("# Introduction", lambda line: f"{line} [paper]({server.url('/gone')}#page-2)"),
            ("Images go in", lambda line: f"{line} See <{server.url('/gone')}>."),
            ("[weights]", lambda line: line.replace("[weights](", f"[yaml]({server.url('/gone.yaml')}), [weights](")),
            ("A paper, with", lambda line: f"{line} {server.url('/gone/paper.pdf')}."),
            ("A paper, with", lambda line: f'{line} <img src="{server.url("/gone.png")}" alt="a">'),
            ("> [", lambda line: f"{line}\n\n[p]: {server.url('/gone')}"),
        ][seed % 8]  # fmt: skip
        line = line_of(text, part)
        lines = text.split("\n")
        lines[line - 1] = new(lines[line - 1])
        changed = "\n".join(lines)
        assert lint([(name, text)], "dead-link", online=True) == []
        assert lint([(name, changed)], "dead-link", online=True) == [(name, line_of(changed, "gone"))]
        assert lint([(name, changed)], "dead-link") == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_digest_that_is_not_the_files_is_found(tmp_path, seed):
    name, text = good_card(seed)
    data = f"weights {seed}".encode()
    whole = hashlib.sha256(data).hexdigest()
    text, line = value(text, "asset-sha256", lambda _: whole)
    for folder in ("right", "wrong"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        file = tmp_path / folder / "deep" / get(text, "asset-link").rpartition("/")[2]
        file.write_bytes(data if folder == "right" else [data[:-1], data + b"\n", b"", data.swapcase()][seed % 4])
    assert lint([(name, text)], "asset-digest-mismatch", assets=tmp_path / "right") == []
    assert lint([(name, text)], "asset-digest-mismatch", assets=tmp_path / "wrong") == [(name, line)]
    new = [whole[:8], whole[:9], whole.upper(), whole[:-1], f"{whole}0", "0" * 64, whole[::-1], "bd90776e"][seed % 8]
    changed, line = value(text, "asset-sha256", lambda _: f'"{new}"')
    assert lint([(name, changed)], "asset-digest-mismatch", assets=tmp_path / "right") == [(name, line)]
    assert lint([(name, changed)], "asset-digest-mismatch") == []
