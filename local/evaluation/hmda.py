"""Mortgage applications in Boston, 1990: was the application accepted?

Home Mortgage Disclosure Act data of the Federal Reserve Bank of Boston (public): A. Munnell et al., American Economic
Review 86 (1996), as in Stock and Watson's textbook. Judged is the acceptance model; race and marital status (`single`)
are kept aside for the fairness table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from local.evaluation.dataset import Labelled, find, rows_of
from streams.scoring.models.acceptance import ACCEPTANCE_MANIFEST
from streams.scoring.models.manifest import Feature, Manifest

COLUMNS = {
    "ltv": "lvrat",
    "dti": "pirat",
    "instalment_to_income": "hirat",
    "credit_history": "chist",
    "mortgage_history": "mhist",
    "public_record": "phist",
    "unemployment": "unemp",
    "self_employed": "selfemp",
    "insurance_denied": "insurance",
    "condominium": "condomin",
    "high_school": "hschool",
}

NO_YES = (0.0, 1.0)


def _attribute(name: str, purpose: str, knots: tuple[float, ...], expected_rise: float = 0.0) -> Feature:
    return Feature(name, purpose=purpose, source="request", knots=knots, expected_rise=expected_rise)


FEATURES = (
    *(feature for feature in ACCEPTANCE_MANIFEST.features if feature.name in COLUMNS),
    _attribute("credit_history", "late payments on consumer credit (1 none .. 6)", (1.0, 3.0, 6.0), -1.5),
    _attribute("mortgage_history", "late payments on mortgages (1 none .. 4)", (1.0, 2.0, 3.0, 4.0), -0.5),
    _attribute("public_record", "a bankruptcy or the like on record", NO_YES, -1.0),
    _attribute("unemployment", "unemployment of the occupation's industry, percent", (2.0, 3.0, 4.0, 6.0, 10.0), -0.25),
    _attribute("self_employed", "income less regular", NO_YES, -0.25),
    _attribute("insurance_denied", "mortgage insurance was denied", NO_YES, -2.0),
    _attribute("condominium", "a flat rather than a house", NO_YES),
    _attribute("high_school", "finished school", NO_YES, 0.5),
)
"""The product's own features, with its own knots, and what these applications say beyond them."""


def load(path: Path) -> Labelled:
    """Any part of the set, as CSV."""
    rows, bad = rows_of(find(path, "hmda"), ("deny", *COLUMNS.values()))
    return Labelled(
        title="HMDA: mortgage applications",
        source="Federal Reserve Bank of Boston, public",
        population="applications for a home mortgage in the Boston area, 1990",
        label="the application was accepted",
        favourable=True,
        manifest=Manifest("acceptance", "credit", FEATURES),
        packaged="acceptance",
        rows=[{name: _number(row[column]) for name, column in COLUMNS.items()} for row in rows],
        labels=np.array([1.0 - _number(row["deny"]) for row in rows]),
        protected={
            "race": ["black" if row.get("afam") == "yes" else "other" for row in rows],
            "marital status": ["single" if row.get("single") == "yes" else "not single" for row in rows],
        },
        excluded={"unreadable line": bad} if bad else {},
    )


def _number(value: Any) -> float:
    return {"yes": 1.0, "no": 0.0}.get(str(value).strip().lower(), np.nan) if _is_word(value) else float(value)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in ("yes", "no", "", "na")
