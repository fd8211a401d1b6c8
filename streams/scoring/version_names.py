"""Names of the versions in force, by the index that changes and cards refer to them with."""

from __future__ import annotations

from schemas.writing import VersionNames
from state.versions import Versions


def names_of(versions: Versions) -> VersionNames:
    """The names: of the weights and behind them of the risk models, and of the policies with their bands."""
    return VersionNames(
        (*(weights.version for weights in versions.weights), *(risk.version for risk in versions.risk)),
        tuple(policy.version for policy in versions.policies),
        tuple(policy.value_band_floors for policy in versions.policies),
        tuple(policy.risk_band_floors for policy in versions.policies),
    )
