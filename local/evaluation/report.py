"""What a model that learns from requests is worth on a data set: said by a deployment, before it learned each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.evaluation.dataset import Labelled
from local.evaluation.figures import (
    auc,
    calibration,
    chance_figures,
    coverage,
    group_coverage,
    learning_curve,
    log_loss,
    roc,
    stability_index,
)
from local.evaluation.journey import Deployment, Told
from local.evaluation.reference import reference_chances
from local.evaluation.requests import ask
from schemas.known_schemas import Registry, StaticRegistry
from streams.learning.bayesian import BayesianLogisticRegression
from streams.learning.challengers import challengers, inputs_for
from streams.scoring.models.additive import logistic, tempered
from streams.scoring.models.manifest import checked, described
from streams.versions.packaged_models import packaged_model

Floats = NDArray[np.float64]
Say = Callable[[str], None]

ONLINE = "Rescore, one pass"
ROW_BY_ROW = "its functions, row by row"
"""The same model in this process, learning each row before the next one is asked: what learning in epochs costs."""
APPROVAL_RATIO_MIN = 0.80
"""Of the group approved least to the one approved most: below it the fairness table is flagged (four-fifths rule)."""


@dataclass
class Report:
    """Everything an evaluation found; `as_json` is what --json writes."""

    data: Labelled
    chances: dict[str, Floats] = field(default_factory=dict)  # by model; of a reference, the first cut into folds
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    rankings: dict[str, float] = field(default_factory=dict)  # AUC of formulas, which learn nothing
    logit_variances: Floats = field(default_factory=lambda: np.zeros(0))  # of the online chances, as they were said
    states: int = 0  # of the model that answered
    refused: int = 0  # events that became dead letters

    @property
    def online(self) -> Floats:
        """The chances that were said before each row was learned."""
        return self.chances[ONLINE]

    def halves(self) -> dict[str, dict[str, float]]:
        """AUC and log loss of the online pass in its first and its second half."""
        middle = len(self.data.labels) // 2
        parts = {"first half": slice(0, middle), "second half": slice(middle, None)}
        known, said = self.data.labels, self.online
        return {
            name: {"auc": auc(known[p], said[p]), "log_loss": log_loss(known[p], said[p])} for name, p in parts.items()
        }

    @property
    def heading(self) -> str:
        """What is judged, in a line."""
        return f"{self.data.title}: {self.data.label}"

    def notes(self) -> list[str]:
        """What a person wants to read below the table."""
        told = [f"{name}, which learns nothing: AUC {value:.3f}" for name, value in self.rankings.items()]
        for name, found in self.halves().items():
            told.append(f"one pass, {name}: AUC {found['auc']:.3f}, log loss {found['log_loss']:.3f}")
        told.append(f"{self.states:,} states of the model answered, each to those who asked until it had learned them")
        if self.data.truth is not None:
            told.append(f"second half: chances are off the true ones by {self.truth_error():.3f} in the mean")
        told += [f"refused by the deployment: {self.refused:,}"] if self.refused else []
        for attribute, table in fairness(self.data, self.online).items():
            flag = ", below 0.80: to be looked into" if table["flagged"] else ""
            told.append(f"approval ratio by {attribute}, never seen by the model: {table['approval_ratio']:.2f}{flag}")
        told += [f"left out: {number:,} ({reason})" for reason, number in self.data.excluded.items()]
        return told

    def coverage(self) -> list[dict[str, float]]:
        """How often intervals have held: for the true chance where it is known, else for what happens in a hundred rows
        that are alike."""
        if self.data.truth is None:
            return group_coverage(self.data.labels, self.online, self.logit_variances)
        sums = untempered(self.online, self.logit_variances)
        return coverage((self.data.truth - sums) / np.sqrt(np.maximum(self.logit_variances, 1e-12)))

    def truth_error(self) -> float:
        """Mean distance of the chances of the second half from the true ones; NaN where these are not known."""
        if self.data.truth is None:
            return math.nan
        later = slice(len(self.online) // 2, None)
        return float(np.mean(np.abs(self.online[later] - logistic(self.data.truth[later]))))

    def stability(self) -> float:
        """Population stability index of the chances, second half against first."""
        middle = len(self.online) // 2
        return stability_index(self.online[:middle], self.online[middle:])

    def as_json(self) -> dict[str, Any]:
        """Figures, curves and the fairness table, as JSON."""
        bent = calibration(self.data.labels, self.online)
        return {
            "dataset": self.data.title,
            "source": self.data.source,
            "label": self.data.label,
            "rows": len(self.data.labels),
            "positives": int(self.data.labels.sum()),
            "excluded": dict(self.data.excluded),
            "refused": self.refused,
            "states": self.states,
            "features": described(self.data.manifest.features),
            "figures": self.figures,
            "formulas_auc": self.rankings,
            "halves": self.halves(),
            "stability_index": self.stability(),
            "calibration": {
                "said": bent.said.tolist(), "happened": bent.happened.tolist(), "rows": bent.rows.tolist(),
                "slope": bent.slope, "error": bent.error,
            },
            "coverage": self.coverage(),
            "truth_error": self.truth_error(),
            "learning_curve": learning_curve(self.data.labels, self.online),
            "roc": [part.round(4).tolist() for part in thinned(*roc(self.data.labels, self.online))],
            "fairness": fairness(self.data, self.online),
        }  # fmt: skip


def evaluate(
    data: Labelled,
    deployment: Deployment,
    registry: Registry | None = None,
    *,
    with_challengers: bool,
    say: Say = lambda _words: None,
    told: Told = lambda _taken, _of: None,
) -> Report:
    """One pass through a deployment that was made with `requests.terms_of` these data, the references beside it, and
    the figures of all. Raises RefusedManifest for protected features."""
    checked(data.manifest)
    report = Report(data)
    say(f"{len(data.labels):,} rows become requests and outcomes; worker and learner take them")
    answers = ask(data, deployment, registry or StaticRegistry(), told)
    report.chances[ONLINE], report.logit_variances = answers.chances, answers.logit_variances
    report.states, report.refused = answers.states, answers.refused
    report.chances[ROW_BY_ROW] = online_chances(data)[0]
    if with_challengers:
        for name in challengers():
            say(f"the same rows for river's {name}")
            report.chances[f"river {name}, one pass"] = challenger_chances(data, name)
    report.figures = {name: figures_of(data.labels, chances) for name, chances in report.chances.items()}
    say("the batch references on the same rows")
    for name, cuts in reference_chances(data).items():
        found = [figures_of(data.labels, chances) for chances in cuts]
        report.chances[name] = cuts[0]
        report.figures[name] = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    report.rankings = {name: auc(data.labels, scores) for name, scores in data.formulas.items()}
    return report


def figures_of(labels: Floats, chances: Floats) -> dict[str, float]:
    """All figures, and the AUC of the second half alone: by then the one pass has learned as much as it lacks at first,
    and who has seen all rows from the beginning has no start ahead of it."""
    later = slice(len(labels) // 2, None)
    figures = chance_figures(labels, chances)
    return {"auc": figures.pop("auc"), "auc_second_half": auc(labels[later], chances[later]), **figures}


def online_chances(data: Labelled) -> tuple[Floats, Floats]:
    """The chance of each row, said before it was learned, by the product's own estimator; and its logit's variance."""
    model = BayesianLogisticRegression(data.manifest.features)
    if data.packaged is not None:
        model.begin_with(packaged_model(data.packaged))
    sums, variances = model.learn_before(data.rows, data.labels)
    return logistic(tempered(sums, variances)), variances


def untempered(chances: Floats, variances: Floats) -> Floats:
    """The log-odds that were tempered by their variances (n,) to these chances.

    >>> float(untempered(logistic(tempered(np.array([1.5]), np.array([2.0]))), np.array([2.0]))[0].round(12))
    1.5
    """
    return (np.log(chances) - np.log1p(-chances)) * np.sqrt(1.0 + math.pi * variances / 8.0)


def challenger_chances(data: Labelled, name: str) -> Floats:
    """The same by one of river's own models."""
    model, chances = challengers()[name](), np.zeros(len(data.rows))
    for i, (row, label) in enumerate(zip(data.rows, data.labels.astype(bool).tolist(), strict=True)):
        inputs = inputs_for(name, data.manifest.features, row)
        chances[i] = model.predict_proba_one(inputs).get(True, 0.0)
        model.learn_one(inputs, label)
    return np.nan_to_num(chances, nan=0.5)


def fairness(data: Labelled, chances: Floats) -> dict[str, dict[str, Any]]:
    """By each attribute kept aside: who is approved, who of the good is, and whether chances hold within the groups.

    Approved: the better of the two answers is the likelier one. Groups of fewer than 30 rows are left out.
    """
    good = data.labels == 1 if data.favourable else data.labels == 0
    approved = chances >= 0.5 if data.favourable else chances < 0.5
    found: dict[str, dict[str, Any]] = {}
    for attribute, values in data.protected.items():
        groups = _groups(values, good, approved, data.labels, chances)
        if len(groups) < 2:
            continue
        rates = [group["approved"] for group in groups.values()]
        ratio = min(rates) / max(rates) if max(rates) > 0 else 1.0
        found[attribute] = {
            "groups": groups,
            "approval_ratio": ratio,
            "true_positive_gap": _gap(groups, "approved_of_good"),
            "false_positive_gap": _gap(groups, "approved_of_bad"),
            "flagged": ratio < APPROVAL_RATIO_MIN,
        }
    return found


def _groups(
    values: Sequence[str], good: NDArray[np.bool_], approved: NDArray[np.bool_], labels: Floats, chances: Floats
) -> dict[str, dict[str, float]]:
    groups = {}
    names = np.array(values)
    for name in sorted(set(values)):
        within = names == name
        if within.sum() >= 30:
            groups[name] = {
                "rows": int(within.sum()),
                "approved": float(approved[within].mean()),
                "approved_of_good": _share(approved, within & good),
                "approved_of_bad": _share(approved, within & ~good),
                "said": float(chances[within].mean()),
                "happened": float(labels[within].mean()),
            }
    return groups


def _share(what: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return float(what[of].mean()) if of.any() else 0.0


def _gap(groups: Mapping[str, Mapping[str, float]], name: str) -> float:
    rates = [group[name] for group in groups.values()]
    return max(rates) - min(rates)


def thinned(x: Floats, y: Floats, points: int = 200) -> tuple[Floats, Floats]:
    """A curve with fewer points, its ends kept."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(points, len(x))).astype(int))
    return x[keep], y[keep]
