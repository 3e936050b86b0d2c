"""Rules of the family consistency: what the card says in two places, and differently."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import PurePath

from hubpkg.lint import figures
from hubpkg.lint.rules import ERROR, WARNING, Finding, quote, replace, rule
from hubpkg.lint.source import Card
from hubpkg.lint.values import Value

_TOLERANCE = 0.02  # of the throughput, beside what rounding explains
# A column's name, and what its unit is in seconds.
_STEP_TIME = {
    **dict.fromkeys(("msstep", "msperstep", "mssteps", "steptimems", "timestepms", "timeperstepms"), 1e-3),
    **dict.fromkeys(("sstep", "sperstep", "timepersteps"), 1.0),
}
_RATE = (
    *("imgs", "imgss", "imagess", "videos", "videoss", "samples", "sampless", "framess", "fps", "imgsec", "imagessec"),
    *("imagespersecond", "throughputimgs", "throughputimgss", "throughputimagess", "throughputsampless"),
)
_CARDS = ("cards", "devices", "npus", "gpus", "numcards", "numdevices", "卡数")
_BATCH = ("batchsize", "batch", "bs", "batchsizepercard", "batchsizeperdevice", "批大小")
_SAMPLING = (15, 20, 25, 30, 40, 50, 250)  # steps that samplers usually take
# With one of these a step is not one batch on each card.
_NOT_ONE_BATCH = frozenset(
    (
        "step",
        "steps",
        "gradaccu",
        "gradientaccumulation",
        "sequenceparallel",
        "paramllelism",
        "parallelism",
        "iterations",
    )
)
_COUNT = 100_000
_PARAMETERS = ("paramsm", "params", "parametersm", "parameters", "参数m", "参数量m")
_IDENTITY = ("modelname", "model", "name", "backbone", "scale", "dataset", "traindataset", "modelversion", "variant")
_PROSE_PARAMETERS = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s?(?P<unit>M|million)\b\s*(?:trainable\s|learnable\s|model\s)?param", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?]\s|\n\s*\n|\n\s*[-*|]")
_IMPLEMENTATION = re.compile(r"uses the\s+implementation of\s+(?P<name>[^\s.,]+)\s+from\b")
_DEVICE = re.compile(r"""\bdevice_target\s*=\s*(["'])(?P<name>[^"'\n]*)\1""")
_DEVICES = {name.lower(): name for name in ("Ascend", "CPU", "GPU", "Davinci")}
_CONFIG = re.compile(r"(?:--config|-c)[ =](?P<path>[\w./\-]+\.ya?ml)\b")
_YAML_LINK = re.compile(r"\((?P<url>[^()\s]+\.ya?ml)\)")
_RELEASE = re.compile(r"\d+\.\d+(?:\.\d+)*$")
_BRANCH = re.compile(r"/(?:tree|blob)/r(?P<release>\d+\.\d+)/")
_STORE = re.compile(r"/r(?P<release>\d+\.\d+)/")
_TOKEN = re.compile(r"[^\W_]+")
_SHORTEST = 3  # letters of a name that is looked for in another

# What the two languages of a card say in the same words.
_SAME_IN_BOTH = (
    *("model-name", "backbone-name", "module-type", "fine-tunable", "input-shape", "model-version", "train-dataset"),
    *("evaluation", "accuracy", "update-time", "repo-link", "mindspore-version", "train-backend", "infer-backend"),
)


@rule("C001", "throughput-mismatch", WARNING)
def throughput_mismatch(card: Card) -> Iterator[Finding]:
    """A row's throughput is not its cards times its batch size over its step time, by more than 2 percent.

    Rounding of the printed step time is allowed for. Rows whose step is more than one batch are left alone.

    Why:
        One of the four numbers is wrong, or is of another run; a buyer of machines counts on them.

    Bad:
        | cards | batch size | ms/step | img/s   |
        | 8     | 128        | 233.86  | 3378.69 |

    Good:
        | cards | batch size | ms/step | img/s   |
        | 8     | 128        | 233.86  | 4378.69 |
    """
    for record in figures.records(card):
        cells = record.cells
        rate_cell, cards_cell, batch_cell = (
            next((cells[name] for name in names if name in cells), None) for names in (_RATE, _CARDS, _BATCH)
        )
        unit = next((name for name in _STEP_TIME if name in cells), None)
        if rate_cell is None or unit is None or cards_cell is None or batch_cell is None:
            continue
        if not _NOT_ONE_BATCH.isdisjoint(cells):
            continue
        cards, batch, step, rate = (
            figures.number(cell.text) for cell in (cards_cell, batch_cell, cells[unit], rate_cell)
        )
        if cards is None or batch is None or step is None or rate is None or not float(step) or not float(rate):
            continue
        images, seconds = float(cards) * float(batch), float(step) * _STEP_TIME[unit]
        half = figures.half_unit(step) * _STEP_TIME[unit]
        low, high = images / (seconds + half), images / max(seconds - half, 1e-9)
        slack = figures.half_unit(rate)
        if _STEP_TIME[unit] == 1 and any(
            low / count - slack <= float(rate) <= high / count + slack for count in _SAMPLING
        ):
            continue  # of a generator: a step is one of those that make an image
        if not low * (1 - _TOLERANCE) - slack <= float(rate) <= high * (1 + _TOLERANCE) + slack:
            yield Finding(
                rate_cell.start,
                rate_cell.end,
                f"expected about {images / seconds:.2f}, which is {cards} x {batch} in {cells[unit].text} "
                f"{'s' if _STEP_TIME[unit] == 1 else 'ms'}/step, found {rate}",
            )


@rule("C002", "parameters-mismatch", WARNING)
def parameters_mismatch(card: Card) -> Iterator[Finding]:
    """The card states two numbers of parameters for one model, in two tables or in a table and the text.

    Why:
        The number of parameters is what a network is recognised by: one of the two is of another network.

    Bad:
        | model name | params(M) |
        | tiny       | 6.72      |
        tiny has 7.6M parameters.

    Good:
        | model name | params(M) |
        | tiny       | 6.72      |
        tiny has 6.7M parameters.
    """
    if not figures.records(card):
        return
    first: dict[tuple[tuple[str, str], ...], str] = {}
    for record in figures.records(card):
        column = next((name for name in _PARAMETERS if name in record.cells), None)
        value = _millions(record.cells[column].text) if column is not None else None
        identity = tuple((name, figures.plain(record.cells[name].text)) for name in _IDENTITY if name in record.cells)
        if column is None or value is None or not identity:
            continue
        known = first.setdefault(identity, value)
        if not figures.agree(known, value):
            cell = record.cells[column]
            yield Finding(cell.start, cell.end, f"expected {known}, as in this model's other row, found {value}")
    own = {value for record in figures.own_records(card)[0] for value in _stated_parameters(record)}
    if len(own) != 1:
        return
    (value,) = own
    names = {figures.plain(card.text_of("model-name")), figures.plain(card.title.text) if card.title else ""} - {""}
    for match in _PROSE_PARAMETERS.finditer(card.prose, card.body_start):
        sentence = _SENTENCE_END.split(card.prose[max(match.start() - 300, card.body_start) : match.start()])[-1]
        if figures.agree(value, match["number"]):
            continue
        if any(name in {figures.plain(word) for word in sentence.split()} for name in names):
            yield Finding(
                match.start("number"),
                match.end("number"),
                f"expected {value}, as in the table, found {match['number']}",
            )


def _stated_parameters(record: figures.Record) -> Iterator[str]:
    for name in _PARAMETERS:
        value = _millions(record.cells[name].text) if name in record.cells else None
        if value is not None:
            yield value


def _millions(cell: str) -> str | None:
    """The number of parameters in millions; one from 100,000 on is a count."""
    value = figures.number(cell)
    if value is None or float(value) < _COUNT:
        return value
    return f"{float(value) / 1e6:.6f}"


@rule("C003", "title-mismatch", WARNING)
def title_mismatch(card: Card) -> Iterator[Finding]:
    """The title names another model than ``model-name``. One may say more than the other: 'vit' and 'vit_base' agree.

    Why:
        The title is what people find, ``model-name`` is what ``create_network`` is asked for.

    Bad:
        # ResNet-101
        model-name: resnet50

    Good:
        # ResNet-50
        model-name: resnet50
    """
    name = figures.scalar(card, "model-name")
    if card.title is None or name is None or not card.title.text:
        return
    title = card.title.text
    if figures.plain(title) == figures.plain(name.text):
        return
    words, others = (_TOKEN.findall(text.lower()) for text in (title, name.text))
    if set(words) <= set(others) or set(others) <= set(words):
        return
    if _begins_with(words, "".join(others)) or _begins_with(others, "".join(words)):
        return
    yield Finding(
        card.title.start, card.title.end, f"expected the title of model-name, {quote(name.text)}, found {quote(title)}"
    )


def _begins_with(words: Sequence[str], name: str) -> bool:
    """Whether the first few of the words make ``name``."""
    return "".join(words).startswith(name) and len(name) in accumulate(map(len, words))


@rule("C004", "recipe-mismatch", WARNING)
def recipe_mismatch(card: Card) -> Iterator[Finding]:
    """A command takes another recipe than the one that the table names for this model.

    Only recipes of the same folder are compared.

    Why:
        Whoever copies the command trains or evaluates another network, or gets a file that does not exist.

    Bad:
        | resnet50 | [yaml](https://example.com/configs/resnet/resnet_50_ascend.yaml) |
        python train.py --config configs/resnet/resnet_18_ascend.yaml

    Good:
        | resnet50 | [yaml](https://example.com/configs/resnet/resnet_50_ascend.yaml) |
        python train.py --config configs/resnet/resnet_50_ascend.yaml
    """
    if not figures.records(card):
        return
    recipes = {
        PurePath(match["url"])
        for record in figures.own_records(card)[0]
        for cell in record.row
        for match in _YAML_LINK.finditer(cell.text)
    }
    folders = {recipe.parent.name for recipe in recipes} - {""}
    names = {recipe.name for recipe in recipes}
    if not folders:
        return
    for fence in card.fences:
        for match in _CONFIG.finditer(card.text, fence.start, fence.end):
            path = PurePath(match["path"])
            if path.parent.name in folders and path.name not in names:
                yield Finding(
                    match.start("path"),
                    match.end("path"),
                    f"expected one recipe in table and command, found {quote(min(names))} in the table and "
                    f"{quote(path.name)} here",
                )


@rule("C005", "twin-mismatch", ERROR, collection=True)
def twin_mismatch(cards: Sequence[Card]) -> Iterator[tuple[Card, Finding]]:
    """The Chinese card of a pair states another value than the English one, where both say the same in one language.

    Why:
        The hub reads the English card only; whoever reads the Chinese one believes another digest, link or figure.

    Bad:
        tiny.md: asset-sha256: 722e13be...
        tiny_cn.md: 资源SHA256校验码: 1cff3c65...

    Good:
        the same digest in both
    """
    english = {(card.path.rpartition("/")[0], card.name): card for card in cards if not card.chinese}
    for card in cards:
        twin = english.get((card.path.rpartition("/")[0], card.name)) if card.chinese else None
        if twin is None:
            continue
        for name in _SAME_IN_BOTH:
            one, other = figures.scalar(card, name), figures.scalar(twin, name)
            if one is not None and other is not None and _comparable(one) != _comparable(other):
                yield (
                    card,
                    Finding(
                        one.start, one.end, f"expected {quote(other.text)}, as in {twin.path}, found {quote(one.text)}"
                    ),
                )
        for entry, other_entry in zip(card.assets, twin.assets, strict=False):
            for name in ("asset-link", "asset-sha256"):
                mine, theirs = entry.get(name), other_entry.get(name)
                if mine is not None and theirs is not None and mine.value.link != theirs.value.link:
                    value = mine.value
                    yield (
                        card,
                        Finding(
                            value.start,
                            value.end,
                            f"expected {quote(theirs.value.text)}, as in {twin.path}, found {quote(value.text)}",
                        ),
                    )
        if len(card.assets) != len(twin.assets):
            field = card.fields.get("asset")
            at = field.start if field is not None else card.front.start
            end = field.end if field is not None else at
            message = f"expected {len(twin.assets)} assets, as in {twin.path}, found {len(card.assets)}"
            yield card, Finding(at, end, message)


def _comparable(value: Value) -> str:
    return re.sub(r"(?<=-)0(?=\d)|\s", "", value.link).lower()


@rule("C006", "release-mismatch", WARNING)
def release_mismatch(card: Card) -> Iterator[Finding]:
    """The release in ``mindspore-version`` is not that of the card's folder, branch, asset's folder or requirements.

    Why:
        Code, weights and framework of different releases were put together; they may not fit.

    Bad:
        mindspore-version: 1.9
        repo-link: <https://gitee.com/mindspore/models/tree/r1.8/official/cv/alexnet>

    Good:
        mindspore-version: 1.9
        repo-link: <https://gitee.com/mindspore/models/tree/r1.9/official/cv/alexnet>
    """
    version = figures.scalar(card, "mindspore-version")
    if version is None or not _RELEASE.match(version.text):
        return
    release = version.text
    folder = card.path.rpartition("/")[0].rpartition("/")[2]
    if _RELEASE.match(folder) and not _same_release(folder, release):
        yield Finding(version.start, version.end, f"expected the release of the folder, {folder}, found {release}")
    link = figures.scalar(card, "repo-link")
    match = _BRANCH.search(link.text) if link is not None else None
    if link is not None and match is not None and not _same_release(match["release"], release):
        start = link.start + (link.style == "quoted") + match.start("release") - 1
        end = start + len(match["release"]) + 1
        yield Finding(start, end, f"expected the branch of mindspore-version, r{release}, found r{match['release']}")
    for entry in card.assets:
        asset = entry.get("asset-link")
        match = _STORE.search(asset.value.link) if asset is not None else None
        if asset is not None and match is not None and not _same_release(match["release"], release):
            start = asset.value.link_start + match.start("release") - 1
            end = start + len(match["release"]) + 1
            yield Finding(
                start, end, f"expected the folder of mindspore-version, r{release}, found r{match['release']}"
            )
    for record in figures.records(card):
        cell = record.cells.get("mindspore")
        if cell is None or "ascenddriver" not in record.cells or not _RELEASE.match(cell.text):
            continue
        if not _same_release(cell.text, release):
            yield Finding(cell.start, cell.end, f"expected mindspore-version, {release}, found {cell.text}")


def _same_release(one: str, other: str) -> bool:
    return one == other or all(a == b for a, b in zip(one.split("."), other.split("."), strict=False))


@rule("C007", "implementation-mismatch", WARNING)
def implementation_mismatch(card: Card) -> Iterator[Finding]:
    """The introduction says that the implementation of another model is used.

    Why:
        The text was copied from another card: code, description and paper are those of another model.

    Bad:
        model-name: AdaBin
        This MindSpore Hub model uses the implementation of FDA-BNN from the MindSpore model zoo.

    Good:
        model-name: AdaBin
        This MindSpore Hub model uses the implementation of AdaBin from the MindSpore model zoo.
    """
    match = _IMPLEMENTATION.search(card.text, card.body_start)
    if match is None:
        return
    if match["name"] in (card.text_of("model-name"), card.text_of("backbone-name")):
        return
    stated = figures.plain(match["name"])
    repository = card.text_of("repo-link").rstrip(">").rpartition("/")[2]
    names = (
        card.text_of("model-name"),
        card.text_of("backbone-name"),
        card.title.text if card.title else "",
        repository,
    )
    known = [plain for name in (*names, card.name) if len(plain := figures.plain(name)) >= _SHORTEST]
    if known and stated and not any(stated in name or name in stated for name in known):
        start, end = match.span("name")
        model = card.text_of("model-name")
        yield Finding(
            start, end, f"expected the implementation of {quote(model)}, found that of {quote(match['name'])}"
        )


@rule("C008", "device-target-unknown", ERROR, fixable=True)
def device_target_unknown(card: Card) -> Iterator[Finding]:
    """An example sets a ``device_target`` that MindSpore does not know. Wrong capitals are mended.

    Why:
        The example stops with a ValueError at its first statement.

    Bad:
        context.set_context(device_target="ASCEND")

    Good:
        context.set_context(device_target="Ascend")
    """
    if "device_target" not in card.text:
        return
    for fence in card.fences:
        for match in _DEVICE.finditer(card.text, fence.start, fence.end):
            name = match["name"]
            if name in _DEVICES.values():
                continue
            usual = _DEVICES.get(name.lower())
            start, end = match.span("name")
            fix = replace(start, end, usual) if usual is not None else None
            yield Finding(start, end, f"expected one of Ascend, CPU, GPU, found {quote(name)}", fix)
