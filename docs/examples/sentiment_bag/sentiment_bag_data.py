"""The dataset of the model and its second metric: what hubpkg reads by the key ``extension`` of model.yaml."""

import random

import numpy as np
from sentiment_bag_words import BAD, GOOD, THINGS, encode

from hubpkg.extension import Metric, Source, from_rows


def sentence(draw):
    """A sentence and whether it is good: one or two qualities of a thing, each of which may be denied."""
    good = draw.random() < 0.5
    qualities = []
    for _ in range(draw.choice((1, 2))):
        denied = draw.random() < 0.2
        quality = draw.choice(GOOD if good is not denied else BAD)
        qualities.append(f"not {quality}" if denied else f"{draw.choice(('very', 'so', 'rather', ''))} {quality}")
    thing = f"{draw.choice(('the', 'a'))} {draw.choice(THINGS)} {draw.choice(('is', 'was'))}"
    return f"{thing} {' and '.join(qualities)}", good


def opinions(split, data_dir):
    """600 sentences to train on, 200 to evaluate on; a corpus of your own would lie in the folder ``data_dir``."""
    del data_dir
    draw = random.Random(split)  # noqa: S311 - the same sentences each time are what is wanted
    pairs = [sentence(draw) for _ in range({"train": 600, "test": 200}[split])]
    inputs = np.array([encode(text) for text, _ in pairs], np.int32)
    labels = np.array([int(good) for _, good in pairs])
    return from_rows(inputs, labels, f"{len(pairs)} sentences, generated with a fixed seed")


def f1(labels, outputs):
    """The F1 score of the good ones, in percent; ``outputs`` are logits of shape (sentences, 2)."""
    found = outputs.argmax(1)
    return 200 * (labels & found).sum() / (labels.sum() + found.sum())


DATASETS = {
    "opinions": Source(
        title="Opinions",
        preparation="The sentences are generated: there is nothing to download.",
        read=opinions,
        classes=2,
    )
}
METRICS = {"F1score": Metric(f1, unit="%")}
