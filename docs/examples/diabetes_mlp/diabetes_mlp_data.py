"""The dataset of the model and its metric: what hubpkg reads by the key ``extension`` of model.yaml."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from hubpkg.extension import Metric, Source, from_rows


def diabetes(split, data_dir):
    """Four fifths of the patients to train on, and a fifth to evaluate on."""
    del data_dir
    measurements, progression = load_diabetes(return_X_y=True)
    train, test = train_test_split(np.arange(len(progression)), test_size=0.2, random_state=0)
    chosen = np.sort({"train": train, "test": test}[split])
    part = {"train": "four fifths", "test": "a fifth"}[split]
    names = [f"patient {index:03d}" for index in chosen]
    return from_rows(measurements[chosen], progression[chosen], f"{part} of the 442 patients, fixed by a seed", names)


def mean_absolute_error(labels, outputs):
    """How far predictions are off, on average; both are of shape (patients, 1)."""
    return float(np.abs(labels - outputs).mean())


DATASETS = {
    "diabetes": Source(
        title="Diabetes",
        preparation=(
            "Ten measurements each of 442 patients, and how far their diabetes had gone on a year later, in a score\n"
            "from 25 to 346 (B. Efron et al., 2004). scikit-learn holds it: there is nothing to download."
        ),
        read=diabetes,
    )
}
METRICS = {"MAE": Metric(mean_absolute_error, higher_is_better=False)}
