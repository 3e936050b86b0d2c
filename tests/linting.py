"""Good cards by the number, and what the linter says of a text."""

import hashlib
import random

from hubpkg.lint import engine
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Options, rules
from hubpkg.lint.source import Card, encode

_TEMPLATE = """\
# {model}

---

model-name: {model}

backbone-name: {backbone}

module-type: {module}

fine-tunable: {fine}

model-version: {version}

train-dataset: {dataset}

evaluation: top1acc{top1} | top5acc{top5}

author: {author}

update-time: {date}

repo-link: <https://github.com/mindspore-lab/mindcv/tree/v0.5.0/configs/{backbone}>

user-id: {user}

used-for: {use}

mindspore-version: {mindspore}

asset:

{dash}file-format: ckpt
{indent}asset-link: <https://download-mindspore.osinfra.cn/toolkits/mindcv/{backbone}/{model}-{digest8}.ckpt>
{indent}asset-sha256: {digest}

license: {licence}

summary: {model} classifies images

---

# {backbone}

> [{backbone}](https://arxiv.org/abs/2106.09681)

## Introduction

Images go in, and classes come out. See the [results](#performance).

## Performance

| model name | params(M) | cards | batch size | ms/step | img/s | acc@top1 | acc@top5 | weight |
| :--------: | :-------: | :---: | :--------: | :-----: | :---: | :------: | :------: | :----: |
| {model} | {params} | {cards} | {batch} | {step:.2f} | {rate:.2f} | {top1} | {top5} | [weights](https://download-mindspore.osinfra.cn/toolkits/mindcv/{backbone}/{model}-{digest8}.ckpt) |

## Quick Start

### Training

```shell
python train.py --config configs/{backbone}/{model}_ascend.yaml
```

## References

[1] A paper, with authors.
"""  # noqa: E501 - a table's row is one line


def good_card(seed):
    """The name and text of a card that no rule finds anything on; another one for each seed."""
    chance = random.Random(seed)  # noqa: S311 - the same cards each time
    backbone = chance.choice(["xcit", "resnet", "vit", "poolformer"])
    model = f"{backbone}_{chance.choice(['tiny', 'small', 'base'])}_p{chance.randrange(2, 40)}_{seed}"
    digest = hashlib.sha256(model.encode()).hexdigest()
    cards, batch, step = chance.choice([1, 8]), chance.choice([32, 128]), chance.uniform(20, 400)
    dash, indent = chance.choice([("- ", "  "), ("-\n    ", "    ")])
    dataset = chance.choice(["ImageNet2012", "CIFAR10", "MNIST"])
    text = _TEMPLATE.format(
        model=model,
        backbone=backbone,
        module=chance.choice(["cv", "cv-classification"]),
        fine=chance.choice(["True", "False"]),
        version=chance.choice(["2.5", "1.9", '"1.10"']),
        dataset={"ImageNet2012": "imagenet2012", "CIFAR10": "cifar10", "MNIST": "mnist"}[dataset],
        top1=f"{chance.uniform(60, 85):.2f}",
        top5=f"{chance.uniform(86, 99):.2f}",
        author=chance.choice(["MindSpore team", "hubpkg contributors"]),
        date=f"20{chance.randrange(20, 26)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        user=chance.choice(["MindSpore", "hubpkg"]),
        use=chance.choice(["inference", "inference/transfer-learning"]),
        mindspore=chance.choice(["2.5", "2.7.1", '"2.10"']),
        licence=chance.choice(["Apache-2.0", "MIT", "MIT OR Apache-2.0"]),
        digest=digest,
        digest8=digest[:8],
        params=f"{chance.uniform(1, 90):.2f}",
        cards=cards,
        batch=batch,
        step=step,
        rate=cards * batch / step * 1000,
        dash=dash,
        indent=indent,
    )
    return f"{model}_{dataset.lower()}.md", text


def check(text, name="tiny_digits.md", select=("ALL",), **options):
    """The findings of the rules ``select`` on a text, or the bytes of one: triples of rule, line and column."""
    card = Card(name, text if isinstance(text, bytes) else encode(text))
    return [(report.rule.name, *card.position(report.finding.start)) for report in reports(card, select, **options)]


def reports(card, select=("ALL",), **options):
    return engine.lint([card], Configuration(select=select, target=options.get("target", "hubpkg")), Options(**options))


def fixed(text, select=("ALL",), name="tiny_digits.md", **options):
    """The text with all that can be fixed."""
    [done] = engine.fix([Card(name, encode(text))], Configuration(select=select), Options(**options))
    return done.after.text


def line_of(text, part):
    """The number of the first line that holds ``part``."""
    assert part in text, part
    return text[: text.index(part)].count("\n") + 1


def names(family):
    """The names of a family's rules."""
    return [rule.name for rule in rules().values() if rule.family == family]
