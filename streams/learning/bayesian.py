"""Bayesian additive models that learn one example at a time, with river's verbs over plain arrays.

Why these and not a gradient's: every example is used fully once (no learning rate to find, no second pass), the weights
know how sure they are, and a score is a sum that explains itself. Knots are packaged, or quantiles of the first
examples. Cost: O(D^2) an example, D weights; about 20 us at 150. The state is a JSON body of numbers and words.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
from river import base
from river.base.typing import ClfTarget

from streams.learning.updates import learn_amounts, learn_labels
from streams.scoring.models.additive import Additive, Floats, layout_of, logistic, placed, sums_of, tempered
from streams.scoring.models.manifest import Feature
from streams.scoring.models.model import FORMAT, Model, UnreadableModel, features_of, inputs_of, weights_of
from streams.scoring.models.plain_values import discovered, is_number, number_of, plain, word_of
from streams.scoring.models.prior import prior_covariance, prior_mean, quantile_knots


class _Additive(base.Estimator):
    """What both models share: features, knots, slots of categories, the Gaussian over the weights, the body."""

    kind = ""

    def __init__(
        self,
        features: tuple[Feature, ...] | None = None,
        knots: int = 6,
        warm_up_examples: int = 100,
        prior_variance: float = 0.1,
        intercept_variance: float = 4.0,
        half_life_examples: float = math.inf,
    ) -> None:
        self.features = features
        self.knots = knots
        self.warm_up_examples = warm_up_examples
        self.prior_variance = prior_variance
        self.intercept_variance = intercept_variance
        self.half_life_examples = half_life_examples
        self.examples = 0
        self.refused = 0
        self._known: tuple[Feature, ...] = ()
        self._slots: dict[str, dict[str, int]] = {}
        self._waiting: list[tuple[dict[str, float | str], float]] = []
        self._weights: Additive | None = None
        self._prior_variances: Floats = np.zeros(0)
        if features and all(f.kind == "category" or f.knots for f in features):
            self._settle(features)

    # What a model is told and asked.

    def learn_one(self, x: dict[Hashable, Any], y: Any) -> None:
        """Learn one example. What cannot be read is absent; a label that is none is counted, not learned."""
        self.learn_before([cast("Mapping[str, Any]", x)], [y])

    def learn_many(self, X: Any, y: Any) -> None:  # noqa: N803 - river's name
        """Learn the rows of a data frame; the same as `learn_one` of each."""
        self.learn_before(X.to_dict("records"), list(y))

    def learn_before(self, rows: Sequence[Mapping[str, Any]], labels: Iterable[Any]) -> tuple[Floats, Floats]:
        """Predict, then learn each row in turn: the sums (n,) that were predicted, and their variances.

        Until the knots are known (`warm_up_examples`) everyone is predicted alike.
        """
        wanted = [self._label(label) for label in labels]
        sums, variances = np.zeros(len(rows)), np.zeros(len(rows))
        at = 0
        while self._weights is None and at < len(rows):
            sums[at], variances[at] = self._cold()
            if math.isnan(wanted[at]):
                self.refused += 1
            else:
                self._waiting.append((plain(rows[at]), wanted[at]))
            at += 1
            if len(self._waiting) >= self.warm_up_examples:
                self._settle(self._features_found())
        if at < len(rows):
            inputs = self._inputs_with_new_words(rows[at:])
            sums[at:], variances[at:] = self._learn(inputs, np.array(wanted[at:]))
        return sums, variances

    def begin_with(self, packaged: Model) -> None:
        """Before the first example: take over what a packaged model knows of the features both have, on the same knots.

        The means alone: what is unsure stays as unsure. Features that differ keep their own beginning.
        """
        if self._weights is None or self.examples:
            return
        theirs = {f.name: j for j, f in enumerate(packaged.manifest.features)}
        for j, feature in enumerate(self._known):
            k = theirs.get(feature.name)
            if k is not None and feature.kind == "number" and packaged.manifest.features[k].knots == feature.knots:
                mine, start = self._weights.layout.starts[j], packaged.weights.layout.starts[k]
                size = len(feature.knots) + 1
                self._weights.mean[mine : mine + size] = packaged.weights.mean[start : start + size]

    def sums_many(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
        """The sums (n,) of rows and their variances, learning nothing."""
        if self._weights is None:
            cold = self._cold()
            return np.full(len(rows), cold[0]), np.full(len(rows), cold[1])
        return sums_of(self._weights, self.inputs(rows))

    @property
    def weights(self) -> Additive | None:
        """The weights as scoring reads them, and as they are now (a copy); None until the knots are known."""
        if self._weights is None:
            return None
        layout, mean, covariance, phi_mean = self._weights
        return Additive(layout, mean.copy(), covariance.copy(), phi_mean.copy())

    @property
    def known_features(self) -> tuple[Feature, ...]:
        """The features as they stand in the columns, with their knots; empty until these are known."""
        return self._known

    def inputs(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """Rows as the model's columns (n, F): numbers, and slots of categories; NaN is absent."""
        return inputs_of(self._known, self._slots, rows)

    # The state as JSON, and back.

    def body(self) -> dict[str, Any]:
        """Everything the model is, as JSON: read it back with `from_body`. No pickle, and doubles to the last bit."""
        body: dict[str, Any] = {
            "kind": self.kind,
            "format": FORMAT,
            "parameters": {
                "knots": self.knots,
                "warm_up_examples": self.warm_up_examples,
                "prior_variance": self.prior_variance,
                "intercept_variance": self.intercept_variance,
                "half_life_examples": None if math.isinf(self.half_life_examples) else self.half_life_examples,
            },
            "features": [_feature_body(f) for f in self._known or self.features or ()],
            "slots": self._slots,
            "examples": self.examples,
            "refused": self.refused,
            "waiting": [[x, y] for x, y in self._waiting],
        }
        if self._weights is not None:
            half = np.tril_indices(len(self._weights.mean))
            body["mean"] = self._weights.mean.tolist()
            body["covariance"] = self._weights.covariance[half].tolist()
            body["phi_mean"] = self._weights.phi_mean.tolist()
        return body

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """The model a body was made of. A body without `covariance` is a packaged prior: known, but not yet sure.

        Raises UnreadableModel.
        """
        if body.get("kind") != cls.kind:
            raise UnreadableModel(f"weights say kind {body.get('kind')!r}; this reads {cls.kind!r}")
        features = features_of(body)
        try:
            parameters = dict(body["parameters"])
            parameters["half_life_examples"] = parameters.get("half_life_examples") or math.inf
            model = cls(features, **parameters)
            model._slots = {name: dict(slots) for name, slots in body["slots"].items()}
            model.examples, model.refused = int(body["examples"]), int(body["refused"])
            model._waiting = [(dict(x), float(y)) for x, y in body["waiting"]]
            if "mean" in body:
                model._take(body)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UnreadableModel(f"weights of kind {cls.kind!r} cannot be read: {error}") from error
        return model

    def _take(self, body: Mapping[str, Any]) -> None:
        if self._weights is None:
            raise ValueError("weights without knots")
        self._weights = weights_of(body, self._weights.layout, self._weights.covariance)

    # Inside.

    def _label(self, label: Any) -> float:
        """The label as a number; NaN where it is none."""
        raise NotImplementedError

    def _cold(self) -> tuple[float, float]:
        """Sum and variance for anyone, while the knots are not known."""
        raise NotImplementedError

    def _update(self, inputs: Floats, labels: Floats, sums: Floats, variances: Floats) -> None:
        raise NotImplementedError

    def _learn(self, inputs: Floats, labels: Floats) -> tuple[Floats, Floats]:
        sums, variances = np.zeros(len(inputs)), np.zeros(len(inputs))
        told = ~np.isnan(labels)
        if told.all():
            self._update(inputs, labels, sums, variances)
        else:  # in runs between the labels that are none, so that these are predicted at their turn too
            for i in range(len(inputs)):
                one = slice(i, i + 1)
                if told[i]:
                    self._update(inputs[one], labels[one], sums[one], variances[one])
                else:
                    assert self._weights is not None
                    sums[one], variances[one] = sums_of(self._weights, inputs[one])
        self.examples += int(told.sum())
        self.refused += int((~told).sum())
        return sums, variances

    def _settle(self, features: tuple[Feature, ...]) -> None:
        """Take these features with their knots, and learn what has been waiting for them."""
        self._known = features
        for feature in features:
            if feature.kind == "category":
                self._slots.setdefault(feature.name, {})
        layout = layout_of(features)
        covariance = prior_covariance(layout, self.prior_variance, self.intercept_variance)
        self._prior_variances = np.diag(covariance).copy()
        mean, phi_mean = prior_mean(features, layout), np.zeros(layout.width)
        mean[0] = self._cold()[0]
        self._weights = Additive(layout, mean, covariance, phi_mean)
        waiting, self._waiting = self._waiting, []
        if waiting:
            inputs = self._inputs_with_new_words([x for x, _ in waiting])
            self._learn(inputs, np.array([y for _, y in waiting]))

    def _features_found(self) -> tuple[Feature, ...]:
        """The declared features, or those the waiting examples have, with knots at the quantiles of these."""
        declared = self.features or tuple(discovered(self._waiting))
        found = []
        for feature in declared:
            if feature.kind == "number" and not feature.knots:
                values = [number_of(x.get(feature.name)) for x, _ in self._waiting]
                feature = feature._replace(knots=quantile_knots(values, self.knots))  # noqa: PLW2901
            found.append(feature)
        return tuple(found)

    def _inputs_with_new_words(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """Rows as columns; a word not seen before gets a slot at its turn, while there are any."""
        for feature in self._known:
            slots = self._slots.get(feature.name)
            if slots is not None and len(slots) < feature.slots:
                for row in rows:
                    word = word_of(row.get(feature.name))
                    if word is not None and word not in slots and len(slots) < feature.slots:
                        slots[word] = len(slots)
        return self.inputs(rows)

    @property
    def _keep(self) -> float:
        return 1.0 if math.isinf(self.half_life_examples) else float(0.5 ** (1.0 / self.half_life_examples))


class BayesianLogisticRegression(_Additive, base.MiniBatchClassifier):
    """The chance that something is true, as an additive model on the log-odds.

    Each example's Laplace approximation is exact along the direction it speaks of. `prior_variance` is that of a
    feature's level at its outermost knots, on the log-odds; `half_life_examples` lets what was learned fade.

    >>> model = BayesianLogisticRegression((Feature("dti", knots=(0.0, 0.3, 0.6)),))
    >>> for _ in range(50):
    ...     model.learn_one({"dti": 0.1}, False)
    ...     model.learn_one({"dti": 0.6}, True)
    >>> model.predict_one({"dti": 0.55}), model.predict_proba_one({"dti": 0.05})[True] < 0.25
    (True, True)
    """

    kind = "additive-logistic"

    def predict_proba_one(self, x: dict[Hashable, Any], **_: Any) -> dict[ClfTarget, float]:
        """The chances of False and True, averaged over what the weights may be."""
        p = float(self.probabilities([cast("Mapping[str, Any]", x)])[0])
        return {False: 1.0 - p, True: p}

    def predict_proba_many(self, X: Any) -> Any:  # noqa: N803 - river's name
        """The chances of the rows of a data frame, as one."""
        p = self.probabilities(X.to_dict("records"))
        return type(X)({False: 1.0 - p, True: p}, index=X.index)

    def probabilities(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """The chance of True for each row (n,)."""
        return logistic(tempered(*self.sums_many(rows)))

    def _label(self, label: Any) -> float:
        return float(label) if is_number(label) and float(label) in (0.0, 1.0) else math.nan

    def _cold(self) -> tuple[float, float]:
        happened = sum(y for _, y in self._waiting)
        return math.log((happened + 0.5) / (len(self._waiting) - happened + 0.5)), 0.0

    def _update(self, inputs: Floats, labels: Floats, sums: Floats, variances: Floats) -> None:
        assert self._weights is not None
        layout, mean, covariance, phi_mean = self._weights
        at, share = placed(layout, inputs)
        learn_labels(
            at, share, labels, mean, covariance, phi_mean, self._prior_variances, self.examples, self._keep,
            sums, variances, np.empty(len(mean)),
        )  # fmt: skip


class BayesianLinearRegression(_Additive, base.MiniBatchRegressor):
    """An amount, as an additive model; the noise is learned too, and a surprise beyond four deviations counts as four.

    >>> model = BayesianLinearRegression((Feature("days", knots=(0.0, 10.0)),))
    >>> for days in range(11):
    ...     model.learn_one({"days": days}, 2.0 + 0.1 * days)
    >>> abs(model.predict_one({"days": 5.0}) - 2.5) < 0.2
    True
    """

    kind = "additive-linear"

    def __init__(
        self,
        features: tuple[Feature, ...] | None = None,
        knots: int = 6,
        warm_up_examples: int = 100,
        prior_variance: float = 4.0,
        intercept_variance: float = 100.0,
        half_life_examples: float = math.inf,
    ) -> None:
        self._noise = np.array([1.0, 1.0])
        super().__init__(features, knots, warm_up_examples, prior_variance, intercept_variance, half_life_examples)

    def predict_one(self, x: dict[Hashable, Any]) -> float:
        """The amount to be expected."""
        return float(self.sums_many([cast("Mapping[str, Any]", x)])[0][0])

    def predict_many(self, X: Any) -> Any:  # noqa: N803 - river's name
        """The amounts to be expected for the rows of a data frame (n,)."""
        return self.sums_many(X.to_dict("records"))[0]

    def body(self) -> dict[str, Any]:
        """As of every model, with the noise."""
        return {**super().body(), "noise": self._noise.tolist()}

    def _take(self, body: Mapping[str, Any]) -> None:
        super()._take(body)
        self._noise[:] = body["noise"]

    def _label(self, label: Any) -> float:
        return number_of(label) if math.isfinite(number_of(label)) else math.nan

    def _cold(self) -> tuple[float, float]:
        return (sum(y for _, y in self._waiting) / len(self._waiting) if self._waiting else 0.0), 0.0

    def _update(self, inputs: Floats, labels: Floats, sums: Floats, variances: Floats) -> None:
        assert self._weights is not None
        layout, mean, covariance, phi_mean = self._weights
        at, share = placed(layout, inputs)
        learn_amounts(
            at, share, labels, mean, covariance, phi_mean, self._prior_variances, self.examples, self._keep,
            self._noise, sums, variances, np.empty(len(mean)),
        )  # fmt: skip


def _feature_body(feature: Feature) -> dict[str, Any]:
    return {**feature._asdict(), "knots": list(feature.knots)}
