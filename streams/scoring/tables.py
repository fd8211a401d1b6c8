"""Versions as the kernel reads them: every version of policy and weights side by side in arrays.

The version that counts for a user is chosen inside the kernel by the user's clock, so a batch may cross an adoption.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import Columns
from schemas.compiled import compiled
from state.profiles import Profile
from state.versions import RateTable, Versions
from streams.scoring.customer_risk import RISK_FEATURES, RISK_KNOTS, RISK_LAYOUT, RISK_WIDTH, RiskModel
from streams.scoring.profiles import PROFILE
from streams.scoring.value import (
    AGE_AT,
    BASIS,
    CONTINUOUS,
    CURRENCIES_AT,
    KNOTS,
    PACE_AT,
    RECENCY_AT,
    TERMS,
    WEB_AT,
    ValueModel,
)

POLICY = np.dtype(
    [
        ("effective_ms", np.int64),
        ("duplicate_horizon_ms", np.int64),
        ("duplicates_max", np.int64),
        ("fold_loan_after_days", np.int64),
        ("cancel_after_due", np.bool_),
        ("cost_rates", np.float64, (5,)),
        ("look_ahead_candidates", np.int64),
        ("observation_from_ms", np.int64),
        ("new_segment_days", np.int64),
        ("high_segment_loans", np.int64),
        ("very_high_segment_loans", np.int64),
        ("label_days", np.int64),
        ("example_activity_days", np.int64),
        ("value_weight", np.float64),
        ("value_step", np.float64),
        ("status_step", np.float64),
        ("revenue_step", np.float64),
        ("risk_step", np.float64),
        ("status_margin", np.float64),
        ("revenue_margin", np.float64),
        ("recency_margin_days", np.float64),
        ("promo_rate", np.float64),
        ("value_band_floors", np.float64, (3,)),
        ("risk_band_floors", np.float64, (2,)),
        ("profile_enter", np.float64),
        ("profile_leave", np.float64),
        ("profile_dwell_days", np.int64),
        ("dates_from_day", np.int64),
        ("payment_days_before_order", np.int64),
        ("count_unpaid_from_day", np.int64),
    ]
)
"""What the kernel reads of a policy version; the names are those of `state.versions.Policy`."""

WEIGHTS = np.dtype(
    [
        ("effective_ms", np.int64),
        ("rescore", np.bool_),
        ("beta", np.float64, (BASIS,)),
        ("knots", np.float64, (CONTINUOUS, KNOTS)),
        ("term_means", np.float64, (TERMS,)),
        ("forecast_mean", np.float64),
        ("consistency_median", np.float64),
        ("forecasts_at", np.int64),  # slices of Tables.samples
        ("forecasts_end", np.int64),
        ("consistencies_at", np.int64),
        ("consistencies_end", np.int64),
        ("status_terciles", np.float64, (2,)),
        ("revenue_terciles", np.float64, (2,)),
        ("recency_quintiles", np.float64, (4,)),
        ("status_quintiles", np.float64, (4,)),
        ("revenue_quintiles", np.float64, (4,)),
    ]
)
"""What the kernel reads of a weights version."""


RISK = np.dtype(
    [
        ("effective_ms", np.int64),
        ("knots", np.float64, (RISK_FEATURES, RISK_KNOTS)),
        ("mean", np.float64, (RISK_WIDTH,)),
        ("covariance", np.float64, (RISK_WIDTH, RISK_WIDTH)),
        ("base", np.float64),
        ("means", np.float64, (RISK_FEATURES,)),
    ]
)
"""What the kernel reads of a version of the risk model: `streams.scoring.customer_risk.RiskModel`."""


BOOK = np.dtype([("effective_ms", np.int64)])
"""What the kernel reads of the profiles in force from a moment on, beside `Tables.profiles`."""


class Tables(NamedTuple):
    """All that a kernel call reads of the versions."""

    policies: Columns  # POLICY
    weights: Columns  # WEIGHTS
    risk: Columns  # RISK; none: nobody has a risk score
    books: Columns  # BOOK; none: nobody has a profile
    profiles: Columns  # PROFILE (books, profiles), in the order of Versions.profile_ids
    samples: NDArray[np.float64]  # the sorted samples of all weights, end to end
    rates: RateTable
    days: NDArray[np.int64]


def model_of(versions: Versions, w: int, p: int) -> ValueModel:
    """Version w of the value model, weighed as policy p says: the readable twin of `value_model`."""
    if ("model", w, p) not in versions.memo:
        weights = versions.weights[w]
        parts = weights.beta * weights.phi_mean
        terms = [*parts[: CONTINUOUS * KNOTS].reshape(CONTINUOUS, KNOTS).sum(axis=1)]
        terms += [parts[RECENCY_AT:AGE_AT].sum(), parts[AGE_AT:WEB_AT].sum()]
        terms += [parts[WEB_AT], parts[CURRENCIES_AT], parts[PACE_AT]]
        versions.memo["model", w, p] = ValueModel(
            weights.beta,
            weights.knots,
            np.array(terms),
            float(np.sum(terms)),
            weights.consistency_median,
            weights.forecasts,
            weights.consistencies,
            versions.policies[p].value_weight,
        )
    model: ValueModel = versions.memo["model", w, p]
    return model


def risk_model_of(versions: Versions, r: int) -> RiskModel:
    """Version r of the risk model: the readable twin of `risk_model`."""
    if ("risk", r) not in versions.memo:
        weights = versions.risk[r]
        weighed = weights.phi_mean * weights.mean
        means = np.add.reduceat(weighed, RISK_LAYOUT.starts)
        base = float(weighed[0] + means.sum())
        versions.memo["risk", r] = RiskModel(weights.knots, weights.mean, weights.covariance, base, means)
    model: RiskModel = versions.memo["risk", r]
    return model


def tables_of(versions: Versions) -> Tables:
    """Lay all versions side by side. Cost: some milliseconds; done once per set of versions."""
    if "tables" not in versions.memo:
        versions.memo["tables"] = _tables_of(versions)
    tables: Tables = versions.memo["tables"]
    return tables


def _tables_of(versions: Versions) -> Tables:
    policies = np.zeros(len(versions.policies), POLICY)
    for p, policy in enumerate(versions.policies):
        for name in POLICY.names or ():
            policies[p][name] = getattr(policy, name)
    weights = np.zeros(len(versions.weights), WEIGHTS)
    samples: list[NDArray[np.float64]] = []
    at = 0
    for w, version in enumerate(versions.weights):
        model = model_of(versions, w, 0)
        for name in ("effective_ms", "rescore", "status_terciles", "revenue_terciles", "recency_quintiles",
                     "status_quintiles", "revenue_quintiles"):  # fmt: skip
            weights[w][name] = getattr(version, name)
        for name in ("beta", "knots", "term_means", "forecast_mean", "consistency_median"):
            weights[w][name] = getattr(model, name)
        for name, sample in (("forecasts", model.forecasts), ("consistencies", model.consistencies)):
            weights[w][f"{name}_at"], weights[w][f"{name}_end"] = at, at + len(sample)
            at += len(sample)
            samples.append(sample)
    risk = np.zeros(len(versions.risk), RISK)
    for r, version in enumerate(versions.risk):
        risk[r]["effective_ms"] = version.effective_ms
        for name, part in risk_model_of(versions, r)._asdict().items():
            risk[r][name] = part
    books, profiles = profile_table(versions)
    return Tables(policies, weights, risk, books, profiles, np.concatenate(samples), versions.rate_table, versions.days)


def profile_table(versions: Versions) -> tuple[Columns, Columns]:
    """BOOK (books,) and PROFILE (books, profiles). Who is not in a book yet is there, switched off."""
    if "profiles" not in versions.memo:
        ids = versions.profile_ids
        books, table = np.zeros(len(versions.books), BOOK), np.zeros((len(versions.books), len(ids)), PROFILE)
        for b, book in enumerate(versions.books):
            books[b]["effective_ms"] = book.effective_ms
            for profile in book.profiles:
                _fill_profile(table[b, ids.index(profile.profile_id)], profile)
        for i in range(len(ids)):  # rows know a profile by its key whatever the book
            table[:, i]["key"] = table[:, i]["key"].max(initial=0)
        versions.memo["profiles"] = books, table
    made: tuple[Columns, Columns] = versions.memo["profiles"]
    return made


def _fill_profile(row: Columns, profile: Profile) -> None:
    row["key"], row["enabled"], row["half_life_days"] = profile.key, profile.enabled, profile.half_life_days
    row["triggers"] = len(profile.triggers)
    for t, trigger in enumerate(profile.triggers):
        row["categories"][t] = sum(1 << category for category in trigger.categories)
        for name in ("purchases", "spent_minor", "share_of_spending", "share_of_purchases"):
            row[name][t] = getattr(trigger, name)


@compiled
def version_at(table: Columns, moment_ms: int) -> int:
    """Index of the version in force: the last whose time has come. Version 0 is in force from the beginning.

    From the newest backwards: most moments are of today, and years of daily versions lie behind it.
    """
    for i in range(len(table) - 1, 0, -1):
        if table[i]["effective_ms"] <= moment_ms:
            return i
    return 0


@compiled
def value_model(weights: Any, samples: NDArray[np.float64], value_weight: float) -> ValueModel:
    """The value model of a record of WEIGHTS, weighed as a policy says."""
    return ValueModel(
        weights["beta"],
        weights["knots"],
        weights["term_means"],
        weights["forecast_mean"],
        weights["consistency_median"],
        samples[weights["forecasts_at"] : weights["forecasts_end"]],
        samples[weights["consistencies_at"] : weights["consistencies_end"]],
        value_weight,
    )


@compiled
def risk_model(weights: Any) -> RiskModel:
    """The risk model of a record of RISK."""
    return RiskModel(weights["knots"], weights["mean"], weights["covariance"], weights["base"], weights["means"])
