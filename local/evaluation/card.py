"""A model card from an evaluation: what the model is for and not for, and what it was worth on whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from local.evaluation.figures import calibration
from local.evaluation.report import Report
from local.evaluation.value_report import ValueReport

PURPOSES = {
    "risk": (
        "Estimating whether a person will pay back, for a decision about credit that a person confirms.",
        "Marketing; employment; insurance; a decision without a person; people unlike those it was judged on.",
    ),
    "acceptance": (
        "Telling an applicant or an adviser how likely an application is to be accepted.",
        "Deciding about the application itself: it learns what lenders did, with all that was wrong with it.",
    ),
}
PURPOSES |= dict.fromkeys(
    ("home_insurance", "life_insurance"),
    (
        "Telling an applicant or an adviser whether cover would be offered at the standard premium.",
        "Deciding about cover or its price; credit; employment; marketing.",
    ),
)
CONFIDENCE = "Of groups of a hundred rows that are alike: how often what happened lay within the interval said for it."
CONFIDENCE_OF_TRUTH = "How often the true chance lay within the interval that was said for it."
LIMITS = (
    "- Features act one by one: where two things together mean more than their sum, boosted trees know more.",
    "- The order is the file's; where it has no time, nothing is said about a world that changes.",
    "- Labels are known within a minute here; in operation an outcome takes as long as the loan.",
)
LIMITS_OF_TRUTH = (
    "- **Nothing here is real.** What is tested is whether chances are calibrated, rank as the truth does, and say how",
    "  sure they are; not what they are worth in a market.",
    "- The truth holds two things that mean more together than their sum, which the model cannot say.",
)
OTHERWISE = ("What the mapping file says.", "Decisions about people that nobody has approved it for.")


def card(report: Report | ValueReport) -> str:
    """The card as Markdown. The approver is a person's to fill in."""
    return value_card(report) if isinstance(report, ValueReport) else labelled_card(report)


def labelled_card(report: Report) -> str:
    """The card of a model of chances."""
    data, found = report.data, report.as_json()
    purpose, forbidden = PURPOSES.get(data.manifest.model, OTHERWISE)
    positives = found["positives"] / max(found["rows"], 1)
    excluded = "; ".join(f"{number:,} {reason}" for reason, number in data.excluded.items()) or "none"
    parts = [
        f"# {data.manifest.model}: judged on {data.title}",
        "",
        "*Made by `rescore evaluate`; every chance was said before its label was learned, in one pass.*",
        "",
        f"- **Purpose**: {purpose}",
        f"- **Not for**: {forbidden}",
        f"- **Population**: {data.population}. Data: {data.source}.",
        f"- **Label**: {data.label}; {found['rows']:,} rows, {positives:.1%} of them.",
        f"- **Left out**: {excluded}.{'' if data.favourable else ' Who was refused has no outcome and is not here.'}",
        f"- **Begins with**: {f'the packaged {data.packaged} model' if data.packaged else 'nothing but its prior'}.",
        "- **Approved by**: nobody yet (name, date, reason)",
        "",
        "## Worth, and the references beside it",
        "",
        *figures_table(report.figures),
        "",
        *(f"The {name}, which learns nothing, ranks with AUC {value:.3f}." for name, value in report.rankings.items()),
        *halves(report),
        "",
        "## Calibration",
        "",
        *calibration_table(report),
        "",
        "## Confidence",
        "",
        CONFIDENCE if data.truth is None else CONFIDENCE_OF_TRUTH,
        "",
        *coverage_table(report.coverage()),
        "",
        "## Fairness",
        "",
        *fairness_table(found["fairness"]),
        "",
        "## What it looks at",
        "",
        "| feature | from | why |",
        "|---|---|---|",
        *(f"| {f.name} | {f.source} | {f.purpose} |" for f in data.manifest.features),
        "",
        "## Limits",
        "",
        *(LIMITS if data.truth is None else LIMITS_OF_TRUTH),
    ]
    return "\n".join(parts) + "\n"


def figures_table(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Figures by model, a row each."""
    names = list(next(iter(figures.values())))
    return [
        f"| | {' | '.join(HEADS.get(name, name) for name in names)} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {model} | {' | '.join(f'{found[name]:.3f}' for name in names)} |" for model, found in figures.items()),
    ]


HEADS = {
    "auc": "AUC", "auc_second_half": "AUC, second half", "gini": "Gini", "ks": "KS", "brier": "Brier",
    "log_loss": "log loss", "calibration_slope": "slope", "lift_10": "lift 10 %",
}  # fmt: skip


def value_card(report: ValueReport) -> str:
    """The card of the customer value forecast."""
    data, found = report.data, report.as_json()
    excluded = "; ".join(f"{number:,} {reason}" for reason, number in data.excluded.items()) or "none"
    parts = [
        f"# value: judged on {data.title}",
        "",
        "*Made by `rescore evaluate`; every example was predicted before it was learned, in one pass.*",
        "",
        "- **Purpose**: telling customers apart by what they will move in the next 30 days, for marketing and care.",
        "- **Not for**: decisions about credit, insurance or employment.",
        f"- **Population**: {data.population}. Data: {data.source}.",
        "- **Label**: ln(1 + amount of the next 30 days / 100), known 30 days later.",
        f"- **Judged**: {found['customers']:,} customers at {found['cut']}, on what they bought after.",
        f"- **Examples**: {found['examples']:,} before that day.",
        *published_as(data.base_units),
        f"- **Left out**: {excluded}; customers whose first purchase came after the cut.",
        "- **Approved by**: nobody yet (name, date, reason)",
        "",
        "## Worth, and the references beside it",
        "",
        "Correlation of the forecast at the cut with days of purchases after it, with ln of what was spent, by rank;",
        "and the share of all that was spent by the tenth with the best forecasts.",
        "",
        *figures_table(report.figures),
        "",
        *(f"- {note}" for note in report.notes()),
        "",
        "## Calibration",
        "",
        "| said | happened | examples |",
        "|---|---|---|",
        *(f"| {t['said']:.3f} | {t['happened']:.3f} | {t['rows']:,} |" for t in report.calibration()),
        "",
        "## Confidence",
        "",
        "Intervals around each forecast, as wide as errors had been until then:",
        "",
        *coverage_table(report.coverage()),
        "",
        "## Limits",
        "",
        "- BG/NBD is told the number of days and is fitted to nothing else; the value forecast is fitted to amounts.",
        "- Expected days are a formula on one row, not learned; its four numbers were chosen on CDNOW and are fixed.",
        "- Labels are nothing or much: errors are not normal, and narrow intervals hold more than they are asked to.",
        "- A shop's customers are not a bank's: the set says how well the forecast learns, no more.",
    ]
    return "\n".join(parts) + "\n"


def published_as(base_units: float) -> Iterable[str]:
    """How money of the set became money of an account, if it did."""
    if base_units != 1.0:
        yield f"- **Amounts**: times {base_units:g}, as a shop sees about a tenth of what moves on an account."


def halves(report: Report) -> Iterable[str]:
    """How it went on, in a sentence."""
    parts = report.halves()
    told = "; ".join(f"{name}: AUC {f['auc']:.3f}, log loss {f['log_loss']:.3f}" for name, f in parts.items())
    yield f"One pass by halves: {told}. Stability of its chances between them (PSI): {report.stability():.3f}."


def calibration_table(report: Report) -> list[str]:
    """What was said against what happened, by tenths."""
    bent = calibration(report.data.labels, report.online)
    return [
        f"Slope {bent.slope:.2f} (1 is right, below 1 too bold); mean distance {bent.error:.3f}.",
        "",
        "| said | happened | rows |",
        "|---|---|---|",
        *(f"| {s:.3f} | {h:.3f} | {n:,} |" for s, h, n in zip(bent.said, bent.happened, bent.rows, strict=True)),
    ]


def coverage_table(points: Iterable[Mapping[str, float]]) -> list[str]:
    """The share intervals should hold against the share they held."""
    told = list(points)
    asked, held = ([f"{point[name]:.0%}" for point in told] for name in ("asked", "held"))
    return [f"| should hold | {' | '.join(asked)} |", f"|---|{'---|' * len(told)}", f"| held | {' | '.join(held)} |"]


def fairness_table(found: dict[str, dict[str, object]]) -> list[str]:
    """The attributes the model never saw, and how it treats them."""
    if not found:
        return ["The set has no attribute to compare by, or too few rows in each group."]
    lines = []
    for attribute, table in found.items():
        flag = " **below 0.80: to be looked into**" if table["flagged"] else ""
        lines += [
            f"By {attribute}, which the model never saw: approval ratio {table['approval_ratio']:.2f}{flag}.",
            f"Gap among the good {table['true_positive_gap']:.2f}, among the bad {table['false_positive_gap']:.2f}.",
            "",
            "| | rows | approved | of the good | of the bad | chance said | happened |",
            "|---|---|---|---|---|---|---|",
        ]
        groups = table["groups"]
        assert isinstance(groups, dict)
        for name, g in groups.items():
            lines.append(
                f"| {name} | {g['rows']:,} | {g['approved']:.2f} | {g['approved_of_good']:.2f} | "
                f"{g['approved_of_bad']:.2f} | {g['said']:.3f} | {g['happened']:.3f} |"
            )
        lines.append("")
    return lines[:-1]
