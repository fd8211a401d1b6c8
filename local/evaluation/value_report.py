"""The customer value forecast on histories: every example predicted before it is learned; then what became of each."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.evaluation.figures import correlation, rank_correlation
from local.evaluation.histories import run, transaction
from local.evaluation.purchases import DAY_MS, Purchase, Purchases
from state.calendar import day_of
from streams.learning.bayesian import BayesianLinearRegression
from streams.scoring.evaluate import features_of
from streams.scoring.manifest import Feature
from streams.scoring.value import AGE_SLOT, FEATURE_NAMES, RECENCY_SLOT
from streams.versions import packaged_weights

Floats = NDArray[np.float64]
Say = Callable[[str], None]

ONLINE = "Rescore value forecast, one pass"
DAYS_A_WEEK = 7.0
UNIT = 100.0
"""s of the value score: amounts are told apart on the scale of ln(1 + amount / s)."""
CURVE_POINTS = 20
PENALTIES = (0.0, 0.001, 0.01, 0.1, 1.0)


@dataclass
class ValueReport:
    """What an evaluation on histories found."""

    data: Purchases
    customers: list[str]
    days_active: Floats  # (customers,) days with a purchase after the cut
    spent: Floats  # (customers,) after the cut
    labels: Floats  # (examples,) ln(1 + 30 days' amount / s)
    said: Floats  # (examples,) before each label was learned
    forecasts: dict[str, Floats] = field(default_factory=dict)  # by model, at the cut

    @property
    def heading(self) -> str:
        """What is judged, in a line."""
        return f"{self.data.title}: forecasts at the cut against what came after (correlations)"

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """By model: how its forecasts at the cut go with what came after."""
        return {name: self._figures(forecast) for name, forecast in self.forecasts.items()}

    def _figures(self, forecast: Floats) -> dict[str, float]:
        best = np.argsort(-forecast, kind="stable")[: max(1, len(forecast) // 10)]
        everything = self.spent.sum()
        return {
            "days": correlation(forecast, self.days_active),
            "ln spent": correlation(forecast, np.log1p(self.spent / UNIT)),
            "rank spent": rank_correlation(forecast, self.spent),
            "spent by best 10 %": float(self.spent[best].sum() / everything) if everything else float("nan"),
        }

    def halves(self) -> dict[str, dict[str, float]]:
        """Correlation and root mean square error of what was said of the examples, by halves of the pass."""
        middle = len(self.labels) // 2
        parts = {"first half": slice(0, middle), "second half": slice(middle, None)}
        return {
            name: {
                "correlation": correlation(self.said[part], self.labels[part]),
                "rmse": _rmse(self.said[part], self.labels[part]),
            }
            for name, part in parts.items()
        }

    def learning_curve(self) -> list[dict[str, float]]:
        """The error of everything said so far."""
        ends = np.unique(np.linspace(0, len(self.labels), CURVE_POINTS + 1)[1:].astype(int))
        return [{"examples": float(n), "rmse": _rmse(self.said[:n], self.labels[:n])} for n in ends if n]

    def calibration(self) -> list[dict[str, float]]:
        """By tenths of what was said: said against happened."""
        parts = np.array_split(np.argsort(self.said, kind="stable"), 10)
        return [
            {"said": float(self.said[i].mean()), "happened": float(self.labels[i].mean()), "rows": len(i)}
            for i in parts
            if len(i)
        ]

    def notes(self) -> list[str]:
        """What a person wants to read below the table."""
        cut = np.datetime64(self.data.cut_ms, "ms").astype("datetime64[D]")
        told = [f"{len(self.customers):,} customers with a purchase before {cut}; {len(self.labels):,} examples"]
        for name, found in self.halves().items():
            words = f"correlation {found['correlation']:.3f}, error {found['rmse']:.3f} of ln(1 + amount / 100)"
            told.append(f"one pass, {name}: {words}")
        told += [f"left out: {number:,} ({reason})" for reason, number in self.data.excluded.items()]
        return told

    def as_json(self) -> dict[str, Any]:
        """Figures and curves, as JSON."""
        return {
            "dataset": self.data.title,
            "source": self.data.source,
            "purchases": len(self.data.purchases),
            "excluded": self.data.excluded,
            "customers": len(self.customers),
            "examples": len(self.labels),
            "cut": str(np.datetime64(self.data.cut_ms, "ms").astype("datetime64[D]")),
            "figures": self.figures,
            "halves": self.halves(),
            "learning_curve": self.learning_curve(),
            "calibration": self.calibration(),
        }


def evaluate_value(data: Purchases, say: Say = lambda _words: None) -> ValueReport:
    """The first half of the set through decoder and step, its examples predicted and learned, forecasts at the cut."""
    cut_ms = data.cut_ms
    before = [purchase for purchase in data.purchases if purchase.time_ms < cut_ms]
    after = [purchase for purchase in data.purchases if purchase.time_ms >= cut_ms]
    first: dict[str, int] = {}
    for purchase in before:
        first.setdefault(purchase.customer, purchase.time_ms)
    say(f"{len(before):,} purchases of {len(first):,} customers through decoder and step")
    records = [transaction(p.time_ms, p.customer, p.amount, i, first[p.customer]) for i, p in enumerate(before)]
    history = run(records, cut_ms)
    customers = sorted(history.rows)
    day = day_of(history.versions.days, cut_ms)
    present = np.array([features_of(history.rows[customer], day) for customer in customers])
    say(f"{len(history.labels):,} examples: predicting, then learning, each")
    model = BayesianLinearRegression(value_features())
    said, _ = model.learn_before(value_rows(history.inputs), history.labels)
    active, spent = defaultdict[str, set[int]](set), defaultdict[str, float](float)
    for purchase in after:
        spent[purchase.customer] += purchase.amount
        if purchase.amount > 0:
            active[purchase.customer].add(purchase.time_ms // DAY_MS)
    report = ValueReport(
        data,
        customers,
        np.array([float(len(active[customer])) for customer in customers]),
        np.array([max(spent[customer], 0.0) for customer in customers]),
        history.labels,
        said,
    )
    report.forecasts[ONLINE] = model.sums_many(value_rows(present))[0]
    say("the batch references on the same customers")
    report.forecasts |= references(before, customers, cut_ms, data.purchases[-1].time_ms)
    report.forecasts["boosted trees on all examples"] = _trees(history.inputs, history.labels, present)
    return report


def value_features() -> tuple[Feature, ...]:
    """The value model's inputs as features: numbers on its packaged knots, recency and age by their bins."""
    knots = packaged_weights().knots
    features = []
    for slot, name in enumerate(FEATURE_NAMES):
        if slot < len(knots):
            features.append(Feature(name, source="transactions", knots=tuple(knots[slot].tolist())))
        elif slot in (RECENCY_SLOT, AGE_SLOT):
            features.append(Feature(name, "category", source="transactions"))
        else:
            features.append(Feature(name, source="transactions", knots=(0.0, 1.0)))
    return tuple(features)


def value_rows(inputs: Floats) -> list[Mapping[str, Any]]:
    """Inputs (n, FEATURE_SLOTS) by name.

    Examples are taken at the turn of a day, when nobody has bought "today": that bin has none of its own, and is read
    as yesterday's, so that a purchase is never a loss.
    """
    told: list[Mapping[str, Any]] = []
    for row in inputs.tolist():
        named: dict[str, Any] = dict(zip(FEATURE_NAMES, row, strict=True))
        named[FEATURE_NAMES[RECENCY_SLOT]] = f"{max(row[RECENCY_SLOT], 1.0):.0f}"
        named[FEATURE_NAMES[AGE_SLOT]] = f"{row[AGE_SLOT]:.0f}"
        told.append(named)
    return told


def references(before: Sequence[Purchase], customers: Sequence[str], cut_ms: int, end_ms: int) -> dict[str, Floats]:
    """BG/NBD: days with a purchase until the end, and these times the mean amount. Nothing where it does not converge.

    Fader, Hardie and Lee, Marketing Science 24 (2005). Fitted on everything before the cut, by customer: repeated days,
    weeks between first and last, weeks since first.
    """
    days, amounts = defaultdict[str, set[int]](set), defaultdict[str, list[float]](list)
    for purchase in before:
        if purchase.amount > 0:
            days[purchase.customer].add(purchase.time_ms // DAY_MS)
            amounts[purchase.customer].append(purchase.amount)
    cut_day = cut_ms // DAY_MS
    repeated = np.array([max(len(days[c]) - 1, 0) for c in customers], np.float64)
    between = np.array([(max(days[c]) - min(days[c])) / DAYS_A_WEEK if days[c] else 0.0 for c in customers])
    since = np.array([(cut_day - min(days[c])) / DAYS_A_WEEK if days[c] else 0.0 for c in customers])
    mean = np.array([np.mean(amounts[c]) if amounts[c] else 0.0 for c in customers])
    counts = _expected_days(repeated, between, since, (end_ms - cut_ms) / (DAYS_A_WEEK * DAY_MS))
    if counts is None:
        return {}
    return {"BG/NBD": counts, "BG/NBD, ln of days x mean amount": np.log1p(counts * mean / UNIT)}


def _expected_days(repeated: Floats, between: Floats, since: Floats, weeks: float) -> Floats | None:
    """Days with a purchase to be expected in so many weeks, from the least penalty with which the fit converges."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # it is no longer developed, and its libraries say so
        from lifetimes import BetaGeoFitter
        from lifetimes.utils import ConvergenceError

        for penalty in PENALTIES:
            try:
                fitted = BetaGeoFitter(penalizer_coef=penalty).fit(repeated, between, since)
            except ConvergenceError:
                continue
            expected = fitted.conditional_expected_number_of_purchases_up_to_time(weeks, repeated, between, since)
            return np.nan_to_num(np.asarray(expected, np.float64))
    return None


def _trees(inputs: Floats, labels: Floats, present: Floats) -> Floats:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        trees = HistGradientBoostingRegressor(max_iter=150, learning_rate=0.05, max_leaf_nodes=15, random_state=0)
        forecast: Floats = trees.fit(inputs, labels).predict(present)
    return forecast


def _rmse(said: Floats, happened: Floats) -> float:
    return float(np.sqrt(np.mean((said - happened) ** 2)))
