"""Versions as the kernel reads them: every version of policy and weights side by side in arrays.

The version that counts for a user is chosen inside the kernel by the user's clock, so a batch may cross an adoption.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from state.compiled_fold import FoldPolicy
from state.versions import RateTable, Versions
from streams.scoring.value import AGE_AT, CONTINUOUS, CURRENCIES_AT, KNOTS, RECENCY_AT, WEB_AT, ValueModel


class PolicyTable(NamedTuple):
    """One entry per policy version in every array."""

    effective_ms: NDArray[np.int64]
    duplicate_horizon_ms: NDArray[np.int64]
    duplicates_max: NDArray[np.int64]
    fold_loan_after_days: NDArray[np.int64]
    cancel_after_due: NDArray[np.bool_]
    cost_rates: NDArray[np.float64]
    look_ahead_candidates: NDArray[np.int64]
    observation_from_ms: NDArray[np.int64]
    new_segment_days: NDArray[np.int64]
    high_segment_loans: NDArray[np.int64]
    very_high_segment_loans: NDArray[np.int64]
    label_days: NDArray[np.int64]
    example_activity_days: NDArray[np.int64]
    value_weight: NDArray[np.float64]
    value_step: NDArray[np.float64]
    status_step: NDArray[np.float64]
    revenue_step: NDArray[np.float64]
    status_margin: NDArray[np.float64]
    revenue_margin: NDArray[np.float64]
    recency_margin_days: NDArray[np.float64]
    promo_rate: NDArray[np.float64]
    value_band_floors: NDArray[np.float64]


class WeightsTable(NamedTuple):
    """One entry per weights version; the samples lie end to end, `*_at` says where each begins."""

    effective_ms: NDArray[np.int64]
    beta: NDArray[np.float64]
    knots: NDArray[np.float64]
    slot_means: NDArray[np.float64]
    forecast_mean: NDArray[np.float64]
    consistency_median: NDArray[np.float64]
    forecasts: NDArray[np.float64]
    forecasts_at: NDArray[np.int64]
    consistencies: NDArray[np.float64]
    consistencies_at: NDArray[np.int64]
    status_terciles: NDArray[np.float64]
    revenue_terciles: NDArray[np.float64]
    recency_quintiles: NDArray[np.float64]
    status_quintiles: NDArray[np.float64]
    revenue_quintiles: NDArray[np.float64]


class Tables(NamedTuple):
    """All that a kernel call reads of the versions."""

    policies: PolicyTable
    weights: WeightsTable
    rates: RateTable
    days: NDArray[np.int64]


def model_of(versions: Versions, w: int, p: int) -> ValueModel:
    """Version w of the value model, weighed as policy p says: the readable twin of `value_model`."""
    if ("model", w, p) not in versions.memo:
        weights = versions.weights[w]
        parts = weights.beta * weights.phi_mean
        slots = [*parts[: CONTINUOUS * KNOTS].reshape(CONTINUOUS, KNOTS).sum(axis=1)]
        slots += [parts[RECENCY_AT:AGE_AT].sum(), parts[AGE_AT:WEB_AT].sum(), parts[WEB_AT], parts[CURRENCIES_AT]]
        versions.memo["model", w, p] = ValueModel(
            weights.beta,
            weights.knots,
            np.array(slots),
            float(np.sum(slots)),
            weights.consistency_median,
            weights.forecasts,
            weights.consistencies,
            versions.policies[p].value_weight,
        )
    model: ValueModel = versions.memo["model", w, p]
    return model


def tables_of(versions: Versions) -> Tables:
    """Lay all versions side by side. Cost: some milliseconds; done once per set of versions."""
    if "tables" not in versions.memo:
        versions.memo["tables"] = _tables_of(versions)
    tables: Tables = versions.memo["tables"]
    return tables


def _tables_of(versions: Versions) -> Tables:
    policies = versions.policies
    columns = []
    for name, annotation in PolicyTable.__annotations__.items():
        kind = np.bool_ if "bool" in str(annotation) else np.int64 if "int64" in str(annotation) else np.float64
        columns.append(np.array([getattr(policy, name) for policy in policies], kind))
    models = [model_of(versions, w, 0) for w in range(len(versions.weights))]
    weights = versions.weights
    return Tables(
        PolicyTable(*columns),
        WeightsTable(
            np.array([version.effective_ms for version in weights], np.int64),
            np.array([model.beta for model in models]),
            np.array([model.knots for model in models]),
            np.array([model.slot_means for model in models]),
            np.array([model.forecast_mean for model in models]),
            np.array([model.consistency_median for model in models]),
            np.concatenate([model.forecasts for model in models]),
            np.cumsum([0, *(len(model.forecasts) for model in models)]).astype(np.int64),
            np.concatenate([model.consistencies for model in models]),
            np.cumsum([0, *(len(model.consistencies) for model in models)]).astype(np.int64),
            np.array([version.status_terciles for version in weights]),
            np.array([version.revenue_terciles for version in weights]),
            np.array([version.recency_quintiles for version in weights]),
            np.array([version.status_quintiles for version in weights]),
            np.array([version.revenue_quintiles for version in weights]),
        ),
        versions.rate_table,
        versions.days,
    )


@compiled
def version_at(effective_ms: NDArray[np.int64], moment_ms: int) -> int:
    """Index of the version in force: the last whose time has come. Version 0 is in force from the beginning."""
    found = 0
    for i in range(1, len(effective_ms)):
        if effective_ms[i] <= moment_ms:
            found = i
    return found


@compiled
def value_model(weights: WeightsTable, w: int, policies: PolicyTable, p: int) -> ValueModel:
    """Version w of the value model, weighed as policy p says."""
    return ValueModel(
        weights.beta[w],
        weights.knots[w],
        weights.slot_means[w],
        weights.forecast_mean[w],
        weights.consistency_median[w],
        weights.forecasts[weights.forecasts_at[w] : weights.forecasts_at[w + 1]],
        weights.consistencies[weights.consistencies_at[w] : weights.consistencies_at[w + 1]],
        policies.value_weight[p],
    )


@compiled
def fold_policy(policies: PolicyTable, p: int) -> FoldPolicy:
    """What of policy p the fold reads."""
    return FoldPolicy(
        policies.duplicate_horizon_ms[p],
        policies.duplicates_max[p],
        policies.fold_loan_after_days[p],
        policies.cancel_after_due[p],
        policies.cost_rates[p],
    )

