"""Rows with labels through a deployment: each a request that a declared model answers, and later its outcome.

The model is declared on `rescore-config` with the data set's manifest; the rows come as applicants with attributes, a
minute apart, each outcome half a minute later. The model learns an epoch of them at a time, ten to sixty rows, and a
row's chance is that of the challenger `steady` as it stood at the last boundary before the request: read from the
learner's own topic, said before the label was known and before anyone of the same epoch was learned from.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from local.evaluation.dataset import Labelled
from local.evaluation.journey import Deployment, Outputs, Sending, Terms, Told
from schemas.batch import Record
from schemas.known_schemas import Registry
from schemas.times import iso_of
from schemas.topic_values import Values
from streams.learner.checkpoint import CHECKPOINT, CREDIT
from streams.learning.bayesian import BayesianLogisticRegression
from streams.scoring.models.additive import logistic, tempered
from streams.scoring.models.manifest import Manifest

Floats = NDArray[np.float64]

CHALLENGER = "steady"
BEGIN_MS = 1_704_067_200_000  # 2024-01-01: the sets have no time of their own
MINUTE_MS = 60_000
EPOCH_ROWS_MIN, EPOCH_ROWS_MAX = 10, 60
EPOCHS = 200
"""About so many epochs a set, where its rows allow."""


class Answers(NamedTuple):
    """What a deployment said of requests, in their order."""

    chances: Floats  # (n,) of the label
    logit_variances: Floats  # (n,)
    labels: Floats  # (n,) as they came out of the topics
    states: int  # of the model that answered
    refused: int  # events that became dead letters


def model_name(manifest: Manifest) -> str:
    """What a set's model is called in the deployment: a name of its own, never that of a packaged one.

    >>> model_name(Manifest("My model!", "credit", ()))
    'evaluated_my_model'
    """
    plain = re.sub(r"[^a-z0-9_]+", "_", manifest.model.lower()).strip("_")
    return f"evaluated_{plain}"[:64]


def epoch_seconds_of(data: Labelled) -> int:
    """How long an epoch is, at a row a minute."""
    return 60 * min(max(len(data.rows) // EPOCHS, EPOCH_ROWS_MIN), EPOCH_ROWS_MAX)


def terms_of(data: Labelled) -> Terms:
    """The deployment's terms: when epochs end, which counts at once, and the set's model declared."""
    body: dict[str, Any] = {
        "purpose": data.manifest.purpose,
        "inputs": "attributes",
        "favourable": data.favourable,
        "begins_with": data.packaged or "",
        "features": [feature._asdict() for feature in data.manifest.features],
        "challengers": {CHALLENGER: {}},
    }
    declared = {
        "name": f"manifest.{model_name(data.manifest)}",
        "version": "1",
        "effective_ms": 0,
        "body": json.dumps(body),
        "author": "rescore evaluate",
        "reason": data.title,
    }
    return Terms(epoch_seconds_of(data), "each_epoch", (declared,))


def sendings_of(data: Labelled) -> list[Sending]:
    """Rows as requests and outcomes, in their order. What is protected goes along, and no model sees it."""
    name, sendings = model_name(data.manifest), []
    for number, (row, label) in enumerate(zip(data.rows, data.labels.tolist(), strict=True), start=1):
        asked_ms = BEGIN_MS + number * MINUTE_MS
        aside = {attribute: values[number - 1] for attribute, values in data.protected.items()}
        common: dict[str, Any] = {"request_id": number}
        asked = common | {"declared_at": iso_of(asked_ms), "attributes": {"model": name} | _told(row) | aside}
        known_ms = asked_ms + MINUTE_MS // 2
        known = common | {"known_at": iso_of(known_ms), "model": name, "label": bool(label)}
        sendings.append(Sending(asked_ms, "applicants", str(number), asked))
        sendings.append(Sending(known_ms, "outcomes", str(number), known))
    return sendings


def _told(row: Mapping[str, Any]) -> dict[str, float | str]:
    """What a row says, without what is absent."""
    found: dict[str, float | str] = {}
    for name, value in row.items():
        if isinstance(value, str) and value:
            found[name] = value
        elif isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
    return found


def ask(data: Labelled, deployment: Deployment, registry: Registry, told: Told) -> Answers:
    """All rows through a deployment that was made with `terms_of` the same data."""
    epoch_ms = epoch_seconds_of(data) * 1_000
    until_ms = BEGIN_MS + ((len(data.rows) + 1) * MINUTE_MS // epoch_ms + 2) * epoch_ms
    return answers_of(data, deployment.play(sendings_of(data), until_ms, told), registry)


def answers_of(data: Labelled, outputs: Outputs, registry: Registry) -> Answers:
    """The answers in a deployment's records. Raises ValueError where a request or an outcome is missing."""
    values, name = Values(registry), model_name(data.manifest)
    told = [values.decode("rescore-examples", record.value or b"") for record in outputs.records["rescore-examples"]]
    told = [one for one in told if one["model"] == name]
    requests = sorted((one for one in told if one["kind"] == "request"), key=lambda one: int(one["timestamp_ms"]))
    outcomes = {one["case"]: float(one["label"]) for one in told if one["kind"] == "outcome"}
    if len(requests) != len(data.rows) or any(one["case"] not in outcomes for one in requests):
        raise ValueError(
            f"{len(data.rows):,} rows were sent; {len(requests):,} requests, {len(outcomes):,} outcomes came"
        )
    states = list(states_of(outputs.records["rescore-learner"], name))
    chances, variances = np.zeros(len(requests)), np.zeros(len(requests))
    times = [done_ms for done_ms, _ in states]
    answered_by = np.array([bisect_right(times, int(one["timestamp_ms"])) - 1 for one in requests])
    fresh = BayesianLogisticRegression(data.manifest.features).body()
    for state in np.unique(answered_by):
        rows = np.flatnonzero(answered_by == state)
        model = BayesianLogisticRegression.from_body(fresh if state < 0 else states[state][1])
        sums, spread = model.sums_many([requests[i]["inputs"] for i in rows])
        chances[rows], variances[rows] = logistic(tempered(sums, spread)), spread
    labels = np.array([outcomes[one["case"]] for one in requests])
    return Answers(chances, variances, labels, len(states), len(outputs.dead_letters))


def states_of(memory: Sequence[Record], name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(until when it had learned, body) of each state of a challenger that the learner wrote down.

    A step forward is one transaction, whose last record is the checkpoint.
    """
    key = CREDIT + name.encode() + b"/learner/" + CHALLENGER.encode()
    latest: Mapping[str, Any] | None = None
    for record in memory:
        if record.key == key and record.value is not None:
            latest = json.loads(record.value)
        elif record.key == CHECKPOINT and record.value is not None and latest is not None:
            yield int(json.loads(record.value)["done_ms"]), latest
            latest = None
