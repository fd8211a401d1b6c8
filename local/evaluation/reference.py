"""Batch references: what is reached by models that see all rows, many times, fitted beside in the same run.

Every chance comes from a model that has not seen its row: five folds. So the reference has seen four fifths of the
data, later rows among them, when it is asked for the first row; one online pass has seen none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.evaluation.dataset import Labelled
from streams.scoring.models.manifest import Feature
from streams.scoring.models.plain_values import number_of, word_of

Floats = NDArray[np.float64]

FOLDS = 5
REPEATS_ROWS_MAX = 5_000
REPEATS = 5
"""Cuts into folds that are averaged where rows are few: one cut of a thousand rows is worth +-0.01 of AUC."""


def missing_libraries() -> list[str]:
    """What references and pictures need and is not installed."""
    return [name for name in ("lifetimes", "matplotlib", "pandas", "sklearn") if find_spec(name) is None]


def matrix_of(features: Sequence[Feature], rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Rows as numbers (n, k): NaN where absent, and a column for each word of a category."""
    columns = []
    for feature in features:
        if feature.kind == "number":
            columns.append([number_of(row.get(feature.name)) for row in rows])
        else:
            words = [word_of(row.get(feature.name)) for row in rows]
            columns += [[float(word == one) for word in words] for one in sorted({w for w in words if w})]
    return np.array(columns, np.float64).T


def reference_chances(data: Labelled, seed: int = 0) -> dict[str, list[Floats]]:
    """Out-of-fold chances by model, for each of the cuts into folds."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    inputs, labels = matrix_of(data.manifest.features, data.rows), data.labels
    models = {
        "logistic regression, 5-fold": make_pipeline(
            SimpleImputer(add_indicator=True, keep_empty_features=True),
            StandardScaler(),
            LogisticRegression(max_iter=2_000),
        ),
        "boosted trees, 5-fold": HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=15, random_state=seed
        ),
    }
    cuts = REPEATS if len(labels) <= REPEATS_ROWS_MAX else 1
    folds = [StratifiedKFold(FOLDS, shuffle=True, random_state=seed + cut) for cut in range(cuts)]
    # One thread: the trees' threads wait by spinning, which on a busy machine takes minutes instead of a second.
    with threadpool_limits(1):
        return {
            name: [cross_val_predict(model, inputs, labels, cv=fold, method="predict_proba")[:, 1] for fold in folds]
            for name, model in models.items()
        }
