"""Evaluations on histories: loaders, the product's step underneath, forecasts before labels, Berka's loans."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from local.evaluation import berka, purchases
from local.evaluation.card import card
from local.evaluation.dataset import UnusableDataset
from local.evaluation.in_process import InProcess
from local.evaluation.pictures import draw
from local.evaluation.report import online_chances
from local.evaluation.value_report import EXPECTED, ONLINE, evaluate_value
from schemas.times import time_ms

DAY_MS = 86_400_000


def write_cdnow(path: Path, customers: int = 60, days: int = 300) -> Path:
    """Some buy every ten days, some once: who bought often goes on."""
    random = np.random.default_rng(8)
    lines = []
    for customer in range(customers):
        gap = 12 if customer % 2 else 150
        for day in range(int(random.integers(0, 40)), days, gap):
            date = str(np.datetime64("1997-01-01") + day).replace("-", "")
            lines.append(f" {customer:05} {customer:04} {date}  1 {random.uniform(10, 40):7.2f}")
    path.write_bytes(gzip.compress(("\n".join(lines) + "\nnonsense\n").encode()))
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    data = purchases.cdnow(write_cdnow(tmp_path_factory.mktemp("cdnow") / "cdnow_sample.txt.gz"))
    return evaluate_value(data, InProcess())


def test_customers_who_buy_often_are_told_from_those_who_do_not(report):
    assert report.data.excluded == {"unreadable line": 1}
    assert report.figures[ONLINE]["days"] > 0.5
    assert {"BG/NBD", "boosted trees on all examples"} <= set(report.figures)
    assert report.figures[EXPECTED]["days"] > 0.5
    assert report.halves()["second half"]["correlation"] > 0.5


def test_what_came_after_the_cut_is_summed_from_the_purchases_themselves(report):
    after = [p for p in report.data.purchases if p.time_ms >= report.data.cut_ms]
    customers = set(report.customers)
    assert report.spent.sum() == pytest.approx(sum(p.amount for p in after if p.customer in customers))
    assert report.days_active.sum() == len(
        {(p.customer, p.time_ms // DAY_MS) for p in after if p.customer in customers}
    )


def test_a_value_report_is_json_has_a_card_and_pictures(report, tmp_path):
    told = json.loads(json.dumps(report.as_json()))
    assert told["customers"] == 60
    assert set(told["expected_days_differences"]) == set(told["differences"])
    assert sum(tenth["rows"] for tenth in told["calibration"]) == told["examples"] == len(report.labels)
    assert "Not for" in card(report)
    assert [path.name for path in draw(report, tmp_path)] == [
        "calibration.png",
        "learning.png",
        "lift.png",
        "coverage.png",
    ]


def test_the_cut_of_cdnow_is_the_usual_one():
    data = purchases.Purchases("", "", "", [purchases.Purchase(_ms("1997-01-01"), "a", 1.0)] * 2, {})
    whole = data._replace(purchases=[data.purchases[0], purchases.Purchase(_ms("1998-06-30"), "a", 1.0)])
    assert whole.cut_ms == _ms("1997-10-01") - DAY_MS  # 39 weeks


def _ms(day: str) -> int:
    found = time_ms(day)
    assert found is not None
    return found


def test_invoice_lines_become_purchases_and_lines_of_nobody_are_counted(tmp_path):
    header = "Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    rows = [
        "x,2,2010-12-01 08:26:00,1.5,17850.0,UK",
        "y,1,2010-12-01 08:26:00,3.0,17850,UK",
        "z,1,2011-03-01 08:00:00,9,,UK",
    ]
    rows += ["y,-1,2011-03-02 08:00:00,3.0,17850,UK", "f,1,2011-03-02 09:00:00,0,17850,UK"]
    path = tmp_path / "online_retail.csv"
    path.write_text(header + "\n".join(rows) + "\n")
    data = purchases.online_retail(path)
    assert [(p.customer, p.amount) for p in data.purchases] == [("17850", 6.0), ("17850", -3.0)]
    assert data.excluded == {"line without a customer": 1, "purchase of nothing": 1}


def test_grocery_items_of_one_till_are_one_purchase(tmp_path):
    rows = ["household_id,sales_value,transaction_timestamp", "1,2.5,2017-01-01 10:00:00", "1,3.5,2017-01-01 10:00:00"]
    (tmp_path / "transactions_part.csv").write_text("\n".join([*rows, "2,1,2017-06-01 10:00:00"]) + "\n")
    data = purchases.complete_journey(tmp_path)
    assert [(p.customer, p.amount) for p in data.purchases] == [("1", 6.0), ("2", 1.0)]


def test_a_part_that_is_too_short_is_refused(tmp_path):
    path = tmp_path / "cdnow.txt"
    path.write_text(" 1 1 19970101 1 10.00\n 1 1 19970110 1 10.00\n")
    with pytest.raises(UnusableDataset, match="60 days"):
        purchases.cdnow(path)


def write_berka(folder: Path) -> Path:
    loans = ['"loan_id";"account_id";"date";"amount";"duration";"payments";"status"']
    lines = ['"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"']
    for account in range(80):
        bad = account % 4 == 0
        balance, number = 0.0, 0
        for month in range(1, 10):
            for day, amount, kind, symbol in (
                (1, 20_000, "PRIJEM", ""),
                (5, 19_900 if bad else 9_000, "VYDAJ", "SIPO"),
            ):
                balance += amount if kind == "PRIJEM" else -amount
                number += 1
                date = f"93{month:02}{day:02}"
                lines.append(
                    f'{account * 100 + number};{account};{date};"{kind}";"X";{amount};{balance};"{symbol}";"";'
                )
        loans.append(f'{account};{account};9309{10 + account % 15:02};96396;12;8033.00;"{"B" if bad else "A"}"')
    loans += ['900;900;930915;96396;12;8033.00;"A"', '901;1;981201;96396;12;8033.00;"D"']
    (folder / "trans_part.csv").write_text("\n".join(lines) + "\n")
    (folder / "loan_part.csv.gz").write_bytes(gzip.compress(("\n".join(loans) + "\n").encode()))
    return folder


def test_berkas_loans_are_judged_with_what_was_known_at_the_grant(tmp_path):
    data = berka.load(write_berka(tmp_path))
    assert len(data.rows) == 80
    assert data.excluded == {"loan without a history up to its grant": 2}
    assert data.labels.sum() == 20
    one = data.rows[0]
    assert one["dti"] == pytest.approx(8033 / 20_000, rel=0.1)
    assert one["history"] == pytest.approx(8.4, abs=0.6)
    chances, _ = online_chances(data)
    assert chances[40:][data.labels[40:] == 1].mean() > chances[40:][data.labels[40:] == 0].mean()


def test_a_loans_features_do_not_see_its_future(tmp_path):
    loan = {"account_id": "1", "amount": 1000, "duration": 12, "payments": 100, "date": "930901", "status": "A"}
    before = [berka.Movement(day, 1_000.0, 1_000.0, "") for day in range(8_500, 8_640, 10)]
    data = berka.load(write_berka(tmp_path))
    assert set(berka.features_at(loan, 8_644, before)) == set(data.rows[0])
    with (tmp_path / "trans_part.csv").open("a") as file:
        file.write('99999;4;931201;"VYDAJ";"X";1;-99999;"SANKC. UROK";"";\n')
    assert berka.load(tmp_path).rows == data.rows
