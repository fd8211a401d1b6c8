"""Evaluations of rows with labels, on small files written here in the formats of the real sets."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from local.evaluation import hmda, insured, mapped, taiwan
from local.evaluation.card import card
from local.evaluation.dataset import UnusableDataset
from local.evaluation.figures import auc
from local.evaluation.in_process import InProcess
from local.evaluation.pictures import draw
from local.evaluation.report import ONLINE, ROW_BY_ROW, challenger_chances, evaluate, online_chances
from local.evaluation.requests import terms_of
from streams.__main__ import app
from streams.learning.challengers import challengers
from streams.scoring.status import status_score

TAIWAN_COLUMNS = (
    "ID", "LIMIT_BAL", "SEX", "EDUCATION", "MARRIAGE", "AGE", "PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6",
    *(f"BILL_AMT{m}" for m in range(1, 7)), *(f"PAY_AMT{m}" for m in range(1, 7)), "default.payment.next.month",
)  # fmt: skip


def write_taiwan(path: Path, rows: int) -> Path:
    random = np.random.default_rng(2)
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TAIWAN_COLUMNS)
        for i in range(rows):
            late = random.choice([-1, 0, 0, 0, 1, 2, 3], 6)
            bills, paid = random.lognormal(9, 1, 6).astype(int), random.lognormal(7, 1, 6).astype(int)
            label = int(random.random() < 1 / (1 + math.exp(2.0 - 1.2 * late[0])))
            writer.writerow([i, 50_000, 1 + i % 2, 2, 1 + i % 3, 30, *late, *bills, *paid, label])
    return path


def write_hmda(path: Path, rows: int) -> Path:
    random = np.random.default_rng(3)
    columns = (
        "deny",
        "pirat",
        "hirat",
        "lvrat",
        "chist",
        "mhist",
        "phist",
        "unemp",
        "selfemp",
        "insurance",
        "condomin",
    )
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*columns, "afam", "single", "hschool"))
        for _ in range(rows):
            ratio, loan = random.uniform(0.1, 0.6), random.uniform(0.4, 1.2)
            denied = random.random() < 1 / (1 + math.exp(5.5 - 6 * ratio - 2 * loan))
            words = [("no", "yes")[int(flag)] for flag in random.random(7) < 0.2]
            writer.writerow([
                "yes" if denied else "no", ratio, ratio * 0.7, loan, random.integers(1, 7), random.integers(1, 5),
                words[0], 3.2, *words[1:],
            ])  # fmt: skip
    return path


def evaluated(data):
    return evaluate(data, InProcess(terms_of(data)), with_challengers=False)


def test_taiwan_counts_six_months_as_six_loans_and_ranks_by_the_status_score(tmp_path):
    data = taiwan.load(write_taiwan(tmp_path / "credit_card_default_part.csv.gz", 600))
    late = np.array([[0, -1, -2, 1, 3, 7], [2, 4, 6, 9, 0, 0]])
    assert taiwan.counts_of(late).tolist() == [[3, 1, 1, 0, 1], [2, 0, 1, 2, 1]]
    assert np.array_equal(data.formulas["status score"], -status_score(taiwan.counts_of(_late(data))))
    assert not {"SEX", "MARRIAGE", "AGE", "EDUCATION"} & {name.upper() for name in data.manifest.names}
    assert set(data.protected) == {"sex", "marriage"}


def _late(data):
    return np.array([[row[f"late_{m}"] for m in range(6)] for row in data.rows])


def test_an_evaluation_predicts_every_row_before_it_learns_it(tmp_path):
    data = taiwan.load(write_taiwan(tmp_path / "taiwan.csv.gz", 400))
    chances, _ = online_chances(data)
    turned = data._replace(labels=np.where(np.arange(400) >= 399, 1 - data.labels, data.labels))
    assert np.array_equal(online_chances(turned)[0], chances)  # the last label moves nothing
    turned = data._replace(labels=np.where(np.arange(400) >= 200, 1 - data.labels, data.labels))
    assert np.array_equal(online_chances(turned)[0][:201], chances[:201])
    assert not np.array_equal(online_chances(turned)[0][201:], chances[201:])


def test_a_report_has_everything_and_is_json(tmp_path):
    report = evaluated(hmda.load(write_hmda(tmp_path / "hmda.csv", 500)))
    told = json.loads(json.dumps(report.as_json()))
    assert set(told["figures"]) == {ONLINE, ROW_BY_ROW, "logistic regression, 5-fold", "boosted trees, 5-fold"}
    assert told["figures"][ONLINE]["auc"] > 0.6
    assert (
        told["fairness"]["race"]["groups"]["black"]["rows"] + told["fairness"]["race"]["groups"]["other"]["rows"] == 500
    )
    assert 0 < told["fairness"]["race"]["approval_ratio"] <= 1
    assert sum(told["calibration"]["rows"]) == 500
    assert told["learning_curve"][-1]["rows"] == 500
    text = card(report)
    for heading in ("Purpose", "Not for", "Population", "Label", "Approved by", "Calibration", "Fairness", "Limits"):
        assert heading in text
    assert "by race" in text.lower()
    pictures = draw(report, tmp_path / "pictures")
    assert [path.name for path in pictures] == [
        "roc.png",
        "calibration.png",
        "learning.png",
        "lift.png",
        "coverage.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_hmdas_protected_columns_are_kept_aside(tmp_path):
    data = hmda.load(write_hmda(tmp_path / "hmda.csv", 60))
    assert not {"afam", "single", "race"} & {*data.manifest.names}
    assert set(data.protected) == {"race", "marital status"}


@pytest.mark.parametrize("name", list(challengers()))
def test_every_challenger_learns_the_same_rows(name, tmp_path):
    data = taiwan.load(write_taiwan(tmp_path / "taiwan.csv.gz", 600))
    chances = challenger_chances(data, name)
    assert ((chances >= 0) & (chances <= 1)).all()
    from local.evaluation.figures import auc

    assert auc(data.labels[300:], chances[300:]) > 0.6


MAPPING = """
model = "mine"
label = "bad"
positive = ["yes"]
protected = ["gender"]
order_by = "day"
population = "people of a test"
[features.income]
purpose = "what can be paid from"
knots = [1000, 2000, 3000]
expected_rise = -1.0
[features.home]
column = "housing"
kind = "category"
"""


def write_csv(path: Path, rows: int = 300) -> Path:
    random = np.random.default_rng(4)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("day", "income", "housing", "gender", "bad"))
        for i in range(rows):
            income = random.uniform(500, 4_000)
            label = "yes" if random.random() < 1 / (1 + math.exp((income - 1_500) / 500)) else "no"
            writer.writerow(
                [f"2024-01-{28 - i % 28:02}", income, "own" if i % 2 else "", "mf"[i % 2], label if i else ""]
            )
    return path


def test_any_csv_is_read_as_its_mapping_says(tmp_path):
    (tmp_path / "map.toml").write_text(MAPPING)
    data = mapped.load(write_csv(tmp_path / "people.csv"), tmp_path / "map.toml")
    assert len(data.rows) == 299
    assert data.excluded == {"without a label": 1}
    assert data.manifest.names == ("income", "home")
    assert data.labels.sum() > 50
    assert {row["home"] for row in data.rows} == {"own", ""}
    assert evaluated(data).figures[ONLINE]["auc"] > 0.7


@pytest.mark.parametrize(
    "change, reason",
    [
        (("[features.home]", "[features.gender]"), "protected"),
        (('column = "housing"', 'column = "gender"'), "protected"),
        (('label = "bad"', ""), "label"),
        (('label = "bad"', 'label = "worse"'), "no column 'worse'"),
        (("expected_rise = -1.0", "direction = 1"), "direction"),
        (('model = "mine"', 'modell = "mine"'), "modell"),
        (("knots = [1000, 2000, 3000]", "knots = [3000, 2000]"), "ascend"),
        (("[features.income]", "[features.income"), "cannot be read"),
    ],
)
def test_a_mapping_that_can_not_be_meant_is_refused_with_the_reason(tmp_path, change, reason):
    (tmp_path / "map.toml").write_text(MAPPING.replace(*change))
    with pytest.raises(UnusableDataset, match=reason):
        mapped.load(write_csv(tmp_path / "people.csv"), tmp_path / "map.toml")


def test_the_command_shows_a_table_and_writes_what_it_is_asked_for(tmp_path):
    (tmp_path / "map.toml").write_text(MAPPING)
    path = write_csv(tmp_path / "people.csv")
    done = CliRunner().invoke(
        app,
        ["evaluate", "csv", str(path), "--mapping", str(tmp_path / "map.toml"), "--in-process",
         "--json", str(tmp_path / "out.json"), "--card", str(tmp_path / "cards" / "mine.md")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Rescore, one pass" in done.output
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == 299
    assert (tmp_path / "cards" / "mine.md").read_text().startswith("# mine: judged on people.csv")


@pytest.mark.parametrize(
    "arguments, words",
    [(["mars", "x"], "no data set"), (["csv", "x"], "needs a mapping"), (["taiwan", "nowhere"], "does not exist")],
)
def test_a_mistake_is_told_in_a_sentence(arguments, words):
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert done.exit_code in (1, 2)
    assert words in done.output
    assert "Traceback" not in done.output


def test_the_mapping_of_the_docs_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    (tmp_path / "map.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    manifest = mapped.manifest_of("risk", mapped.read_mapping(tmp_path / "map.toml"), tmp_path / "map.toml")
    assert manifest.names == ("dti", "savings", "housing")
    assert manifest.features[0].knots


@pytest.mark.parametrize("model", insured.MODELS)
def test_made_up_people_are_ranked_and_told_their_chances_nearly_as_the_truth_has_them(model):
    data = insured.load(model)
    data = data._replace(rows=data.rows[:1_200], labels=data.labels[:1_200], truth=data.truth[:1_200], formulas={})
    assert data.rows == insured.load(model).rows[:1_200]
    report = evaluated(data)
    best = auc(data.labels, data.truth)
    assert best - 0.05 < report.figures[ONLINE]["auc"] < best + 0.01
    assert report.truth_error() < 0.06
    assert 0.8 < report.as_json()["calibration"]["slope"] < 1.25
    held = {point["asked"]: point["held"] for point in report.coverage()}
    assert held[0.5] > 0.3
    assert held[0.95] > 0.75
    assert "Nothing here is real" in card(report)
