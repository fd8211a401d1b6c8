"""Pictures of an evaluation: ROC, calibration, learning curve, lift. PNG files, without a display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from local.evaluation.figures import auc, calibration, learning_curve, lift, roc
from local.evaluation.report import ONLINE, Report, thinned
from local.evaluation.value_report import ValueReport

Fills = dict[str, Callable[[Any, Any], None]]
"""What fills the axes of each picture, from a report."""

SHARES = np.linspace(0.02, 1.0, 50)


def draw(report: Report | ValueReport, folder: Path) -> list[Path]:
    """Write the pictures of a report and answer their paths."""
    fills: Fills
    if isinstance(report, ValueReport):
        fills = {"calibration": _value_calibration, "learning": _value_learning, "lift": _gains, "coverage": _coverage}
        return _draw(report, folder, fills)
    fills = {"roc": _roc, "calibration": _calibration, "learning": _learning, "lift": _lift, "coverage": _coverage}
    return _draw(report, folder, fills)


def _draw(report: Any, folder: Path, fills: Fills) -> list[Path]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, fill in fills.items():
        figure, axes = plt.subplots(figsize=(5.0, 4.2), layout="constrained")
        fill(report, axes)
        axes.grid(alpha=0.3)
        axes.set_title(report.data.title)
        path = folder / f"{name}.png"
        # Without date and program: the same figures give the same bytes.
        figure.savefig(path, dpi=110, metadata={"Software": None})
        plt.close(figure)
        paths.append(path)
    return paths


def _roc(report: Report, axes: Any) -> None:
    for name, chances in report.chances.items():
        x, y = thinned(*roc(report.data.labels, chances), points=400)
        axes.plot(x, y, label=f"{name}: {report.figures[name]['auc']:.3f}", linewidth=2.0 if name == ONLINE else 1.0)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set_xlabel("false positives")
    axes.set_ylabel("true positives")
    axes.legend(fontsize=7, loc="lower right")


def _calibration(report: Report, axes: Any) -> None:
    bent = calibration(report.data.labels, report.online)
    axes.plot(bent.said, bent.happened, marker="o", label=f"slope {bent.slope:.2f}, mean distance {bent.error:.3f}")
    top = max(bent.said.max(), bent.happened.max())
    axes.plot([0, top], [0, top], color="grey", linestyle=":")
    axes.set_xlabel("chance said before the label was known")
    axes.set_ylabel("share that happened")
    axes.legend(fontsize=8)


def _learning(report: Report, axes: Any) -> None:
    curve = learning_curve(report.data.labels, report.online)
    axes.plot([point["rows"] for point in curve], [point["auc"] for point in curve], marker=".", label=ONLINE)
    for name, figures in report.figures.items():
        if name.endswith("5-fold"):
            axes.axhline(figures["auc"], linestyle="--", color="grey", linewidth=1.0)
            axes.annotate(name, (0.02, figures["auc"]), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
    axes.set_xlabel("rows predicted, then learned")
    axes.set_ylabel("AUC of all predictions so far")
    axes.legend(fontsize=8)


def _lift(report: Report, axes: Any) -> None:
    axes.plot(SHARES, [lift(report.data.labels, report.online, share) for share in SHARES], label=ONLINE)
    axes.axhline(1.0, color="grey", linestyle=":")
    axes.set_xlabel("share of rows with the highest chances")
    axes.set_ylabel("times more positives than on average")
    axes.legend(fontsize=8, title=f"AUC {auc(report.data.labels, report.online):.3f}")


def _coverage(report: Report | ValueReport, axes: Any) -> None:
    points = report.coverage()
    axes.plot([point["asked"] for point in points], [point["held"] for point in points], marker="o")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set_xlabel("share that an interval should hold")
    axes.set_ylabel("share that it held")


def _value_calibration(report: ValueReport, axes: Any) -> None:
    tenths = report.calibration()
    said, happened = [tenth["said"] for tenth in tenths], [tenth["happened"] for tenth in tenths]
    axes.plot(said, happened, marker="o")
    axes.plot([0, max(said)], [0, max(said)], color="grey", linestyle=":")
    axes.set_xlabel("ln(1 + amount / 100) said for the next 30 days")
    axes.set_ylabel("what it was, mean of each tenth")


def _value_learning(report: ValueReport, axes: Any) -> None:
    curve = report.learning_curve()
    axes.plot([point["examples"] for point in curve], [point["rmse"] for point in curve], marker=".")
    axes.set_xlabel("examples predicted, then learned")
    axes.set_ylabel("root mean square error of all so far")


def _gains(report: ValueReport, axes: Any) -> None:
    shares = np.arange(1, len(report.spent) + 1) / len(report.spent)
    for name, forecast in report.forecasts.items():
        gained = np.cumsum(report.spent[np.argsort(-forecast, kind="stable")]) / max(report.spent.sum(), 1e-12)
        axes.plot(*thinned(shares, gained), label=name, linewidth=1.2)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set_xlabel("share of customers, best forecasts first")
    axes.set_ylabel("share of what they spent after the cut")
    axes.legend(fontsize=7)
