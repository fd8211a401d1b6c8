"""Is the value forecast worth something? One journey through a deployment, judged by what came after its end.

Every example was forecast by the weights in force on its day, thirty days before its label was known. At the cut, the
forecasts of all customers by the weights in force then are compared with days of purchases and with amounts of the time
after; so are the scores as they were published.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local.evaluation.figures import correlation, coverage, difference, rank_correlation
from local.evaluation.journey import BASE_CURRENCY, Deployment, Journey, Sending, Told, journey_of
from local.evaluation.purchases import Purchase, Purchases
from schemas.batch import DAY_MS
from schemas.known_schemas import Registry, StaticRegistry

Floats = NDArray[np.float64]
Say = Callable[[str], None]

ONLINE = "Rescore value forecast"
PUBLISHED = "Rescore value score, as published"
EXPECTED = "Rescore expected days"
OURS = (ONLINE, PUBLISHED, EXPECTED)
BG_NBD = "BG/NBD"
DAYS_A_WEEK = 7.0
UNIT = 100.0
"""s of the value score: amounts are told apart on the scale of ln(1 + amount / s)."""
CURVE_POINTS = 20
PENALTIES = (0.0, 0.001, 0.01, 0.1, 1.0)


NOISE_EXAMPLES = 20
"""How far forecasts are off is taken for 1 ln unit at first, and for what was seen after so many examples."""


@dataclass
class ValueReport:
    """What an evaluation on histories found."""

    data: Purchases
    journey: Journey
    refused: int  # events that became dead letters
    customers: list[str]
    days_active: Floats  # (customers,) days with a purchase after the cut
    spent: Floats  # (customers,) after the cut, in the set's currency
    forecasts: dict[str, Floats] = field(default_factory=dict)  # by model, at the cut

    @property
    def labels(self) -> Floats:
        """What came true of each example (n,): ln(1 + 30 days' amount / s)."""
        return self.journey.labels

    @property
    def said(self) -> Floats:
        """What was forecast of each example (n,), thirty days before its label was known."""
        return self.journey.forecasts

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
        correlations = {name: measure(forecast, truth) for name, (measure, truth) in self._measures().items()}
        return correlations | {
            "spent by best 10 %": float(self.spent[best].sum() / everything) if everything else float("nan")
        }

    def _measures(self) -> dict[str, tuple[Callable[[Floats, Floats], float], Floats]]:
        return {
            "days": (correlation, self.days_active),
            "rank days": (rank_correlation, self.days_active),
            "ln spent": (correlation, np.log1p(self.spent / UNIT)),
            "rank spent": (rank_correlation, self.spent),
        }

    def differences(self, ours: str = ONLINE) -> dict[str, dict[str, dict[str, float]]]:
        """By reference and figure: how much better our forecast is, and between what the same would lie for 95 of 100
        draws of as many customers from these."""
        mine = self.forecasts[ours]
        others = {name: forecast for name, forecast in self.forecasts.items() if name not in OURS}
        return {
            name: {
                figure: difference(measure, truth, mine, forecast)
                for figure, (measure, truth) in self._measures().items()
            }
            for name, forecast in others.items()
        }

    def coverage(self) -> list[dict[str, float]]:
        """Intervals around what was said, as wide as the errors seen before: how many labels lay within."""
        off2 = (self.labels - self.said) ** 2
        seen = np.concatenate([[0.0], np.cumsum(off2)[:-1]])
        deviation = np.sqrt((seen + NOISE_EXAMPLES) / (np.arange(len(off2)) + NOISE_EXAMPLES))
        return coverage((self.labels - self.said) / deviation)

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
        told = [
            f"{len(self.customers):,} customers with a purchase before {cut}; {len(self.labels):,} examples",
            f"{self.journey.versions} versions of weights came into force, the last {self.journey.weights.version}",
        ]
        for name, found in self.halves().items():
            words = f"correlation {found['correlation']:.3f}, error {found['rmse']:.3f} of ln(1 + amount / 100)"
            told.append(f"one pass, {name}: {words}")
        for name, figures in self.differences().items():
            said = "; ".join(
                f"{figure} {found['better_by']:+.3f} ({found['from']:+.3f} to {found['to']:+.3f})"
                for figure, found in figures.items()
            )
            told.append(f"against {name}: {said}")
        if BG_NBD in self.forecasts:
            days = self.differences(EXPECTED)[BG_NBD]["days"]
            said = f"{days['better_by']:+.3f} ({days['from']:+.3f} to {days['to']:+.3f})"
            told.append(f"expected days, of which nothing is fitted or learned, against {BG_NBD}: days {said}")
        told += [f"refused by the deployment: {self.refused:,}"] if self.refused else []
        told += [f"left out: {number:,} ({reason})" for reason, number in self.data.excluded.items()]
        return told

    def as_json(self) -> dict[str, Any]:
        """Figures and curves, as JSON."""
        return {
            "dataset": self.data.title,
            "source": self.data.source,
            "purchases": len(self.data.purchases),
            "base_units": self.data.base_units,
            "excluded": self.data.excluded,
            "refused": self.refused,
            "customers": len(self.customers),
            "examples": len(self.labels),
            "cut": str(np.datetime64(self.data.cut_ms, "ms").astype("datetime64[D]")),
            "weights": {"version": self.journey.weights.version, "versions": self.journey.versions},
            "figures": self.figures,
            "differences": self.differences(),
            "expected_days_differences": self.differences(EXPECTED),
            "halves": self.halves(),
            "learning_curve": self.learning_curve(),
            "calibration": self.calibration(),
            "coverage": self.coverage(),
        }


def evaluate_value(
    data: Purchases,
    deployment: Deployment,
    registry: Registry | None = None,
    say: Say = lambda _words: None,
    told: Told = lambda _taken, _of: None,
) -> ValueReport:
    """The first half of the set through a deployment; what it said, against what came after."""
    cut_ms = data.cut_ms
    before = [purchase for purchase in data.purchases if purchase.time_ms < cut_ms]
    sendings = sendings_of(before, data.base_units)
    say(f"{len(before):,} purchases until the cut become events; workers and learner take them")
    outputs = deployment.play(sendings, cut_ms, told)
    journey = journey_of(outputs, registry or StaticRegistry(), cut_ms)
    customers = journey.customers
    active, spent = defaultdict[str, set[int]](set), defaultdict[str, float](float)
    for purchase in data.purchases[len(before) :]:
        spent[purchase.customer] += purchase.amount
        if purchase.amount > 0:
            active[purchase.customer].add(purchase.time_ms // DAY_MS)
    report = ValueReport(
        data,
        journey,
        len(outputs.dead_letters),
        customers,
        np.array([float(len(active[customer])) for customer in customers]),
        np.array([max(spent[customer], 0.0) for customer in customers]),
    )
    report.forecasts[ONLINE] = journey.forecast(customers)
    report.forecasts[EXPECTED] = journey.expected_days(customers)
    report.forecasts[PUBLISHED] = np.array([journey.scores.get(customer, 1.0) for customer in customers])
    say("the batch references on the same customers")
    report.forecasts |= references(before, customers, cut_ms, data.purchases[-1].time_ms)
    present = journey.present(customers)
    report.forecasts["boosted trees on all examples"] = _trees(journey.inputs, journey.labels, present)
    return report


def sendings_of(purchases: Sequence[Purchase], base_units: float) -> list[Sending]:
    """Purchases as transactions; an account is as old as its first one."""
    first: dict[str, str] = {}
    sendings = []
    for number, purchase in enumerate(purchases):
        at = str(np.datetime64(purchase.time_ms, "ms"))
        fields = {
            "event_id": str(number),
            "user_id": purchase.customer,
            "transaction_currency": BASE_CURRENCY,
            "transaction_amount": round(purchase.amount * base_units, 2),
            "transaction_date": at,
            "user_created": first.setdefault(purchase.customer, at),
        }
        sendings.append(Sending(purchase.time_ms, "transactions", purchase.customer, fields))
    return sendings


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
    return {BG_NBD: counts, f"{BG_NBD}, ln of days x mean amount": np.log1p(counts * mean / UNIT)}


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
