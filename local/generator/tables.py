"""What the sample customers are like: personas, what they spend on, where the loans are sold. Plain tables, no code.

Names of shops, people and points are made up. Amounts are euros, rates are per day unless the name says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple


class Persona(NamedTuple):
    """A way of living with money. `late` is how far this persona leans to late repayment (0: the average customer)."""

    name: str
    share: float
    monthly_income: float  # median over the persona's customers
    income_spread: float  # sigma of its logarithm
    purchases_per_day: float
    rent_share: float  # of income
    web_share: float
    loans_per_year: float
    late: float
    buffer_months: float  # opening balance in monthly incomes


PERSONAS: tuple[Persona, ...] = (
    Persona("salaried", 0.30, 2_150, 0.25, 0.80, 0.28, 0.70, 1.0, -0.3, 1.5),
    Persona("student", 0.12, 720, 0.30, 0.70, 0.35, 0.95, 0.5, 0.5, 0.7),
    Persona("pensioner", 0.15, 1_280, 0.25, 0.45, 0.15, 0.30, 0.4, -0.6, 4.0),
    Persona("freelancer", 0.10, 2_700, 0.50, 0.70, 0.25, 0.85, 2.0, 0.3, 2.0),
    Persona("family", 0.12, 3_450, 0.25, 1.30, 0.30, 0.75, 1.6, 0.0, 1.2),
    Persona("high_earner", 0.04, 7_800, 0.40, 1.20, 0.20, 0.80, 0.8, -0.8, 6.0),
    Persona("dormant", 0.07, 0, 0.0, 0.01, 0.0, 0.40, 0.1, 0.6, 0.0),
    Persona("currency_trader", 0.03, 3_300, 0.40, 0.70, 0.22, 0.98, 0.4, 0.1, 3.0),
    Persona("farmer", 0.07, 2_400, 0.50, 0.50, 0.05, 0.45, 9.0, 0.1, 2.0),
)
PERSONA_NAMES: tuple[str, ...] = tuple(persona.name for persona in PERSONAS)


class Spending(NamedTuple):
    """A category of spending: how often relative to the others, how much, at what hour, on which days.

    `weekend` multiplies the frequency on Saturday and Sunday, `december` in December. `ticket` is relative: tickets of
    a customer are scaled so that a month's spending fits the month's income.
    """

    category: str
    mcc: str
    merchants: tuple[str, ...]
    weight: float
    ticket: float
    spread: float
    hour: float
    weekend: float
    december: float


SPENDING: tuple[Spending, ...] = (
    Spending(
        "groceries", "5411", ("Mercado Olivo", "Super Lince", "Frutas Alba", "Casa Roble"), 30, 38, 0.6, 17.5, 1.3, 1.3
    ),
    Spending(
        "restaurants", "5812", ("Bar Estrella", "Trattoria Pino", "Café Norte", "Sushi Umi"), 14, 24, 0.5, 17, 1.8, 1.4
    ),
    Spending("transport", "4111", ("Metro", "Regional Rail", "City Bus"), 14, 6, 0.6, 12, 0.5, 1.0),
    Spending("fuel", "5541", ("Petrol Sur", "Gasolinera Vega"), 8, 52, 0.3, 15, 1.2, 1.0),
    Spending("pharmacy", "5912", ("Farmacia Central", "Farmacia Sol"), 5, 18, 0.6, 13, 0.6, 1.1),
    Spending("clothes", "5651", ("Moda Luna", "Textil Rivera"), 5, 55, 0.6, 16, 2.0, 1.9),
    Spending("electronics", "5732", ("Electro Mar", "Byte Shop"), 2, 140, 0.8, 16, 1.5, 2.6),
    Spending("entertainment", "7832", ("Cine Plaza", "Teatro Azul", "Game Arcade"), 5, 18, 0.5, 19.5, 2.2, 1.3),
    Spending("online", "5964", ("Paketo", "Bookbarn", "Streamly"), 9, 32, 0.7, 20, 1.2, 2.1),
    Spending("cash", "6011", ("Cash withdrawal",), 6, 90, 0.5, 14, 1.1, 1.3),
    Spending("toys", "5945", ("Juguetes Trompo",), 1, 35, 0.5, 16, 1.8, 5.0),
    Spending("farm supplies", "0763", ("Agro Campo", "Semillas Duero"), 1, 160, 0.7, 10, 0.3, 0.6),
)

LEANINGS: dict[str, dict[str, float]] = {
    "student": {"restaurants": 1.5, "fuel": 0.2, "transport": 1.8, "online": 1.5, "farm supplies": 0.0},
    "pensioner": {"pharmacy": 3.0, "cash": 2.5, "online": 0.3, "electronics": 0.5, "transport": 0.5},
    "family": {"groceries": 1.5, "toys": 4.0, "clothes": 1.4},
    "high_earner": {"restaurants": 1.8, "electronics": 1.6, "cash": 0.5},
    "farmer": {"farm supplies": 25.0, "fuel": 2.0, "transport": 0.2},
}
"""How a persona's weights of categories differ from the common ones."""


class Flow(NamedTuple):
    """Money that moves by a rule instead of by appetite: wages, bills, repayments."""

    category: str
    mcc: str | None
    merchants: tuple[str, ...]
    hour: float


FLOWS: dict[str, Flow] = {
    "salary": Flow("salary", None, ("Salary",), 7.5),
    "pension": Flow("pension", None, ("State pension",), 6.5),
    "allowance": Flow("allowance", None, ("Transfer from family",), 10),
    "benefit": Flow("benefit", None, ("Unemployment benefit",), 7),
    "invoice": Flow("income", None, ("Invoice paid",), 11),
    "harvest": Flow("income", None, ("Cooperative, crop delivered",), 11),
    "rent": Flow("housing", "6513", ("Rent",), 8),
    "utilities": Flow("utilities", "4900", ("Electricity and gas",), 9),
    "phone": Flow("telecom", "4814", ("Mobile contract",), 9),
    "bought_currency": Flow("exchange", "6012", ("Currency bought",), 13),
    "sold_currency": Flow("exchange", "6012", ("Currency sold",), 13),
    "repayment": Flow("loan", "6012", ("Loan repayment",), 12),
}
"""By kind; their codes follow those of SPENDING."""

KINDS: tuple[str, ...] = (*(spending.category for spending in SPENDING), *FLOWS)
KIND_CODE: dict[str, int] = {kind: code for code, kind in enumerate(KINDS)}

CURRENCIES: tuple[str, ...] = ("EUR", "USD", "GBP", "CHF")
CURRENCY_COUNTRIES: tuple[str, ...] = ("ES", "US", "GB", "CH")
CURRENCY_RATES: tuple[float, ...] = (1.0, 0.91, 1.17, 1.05)  # euros for one unit on the first day
WEEKLY_RATE_SPREAD = 0.006

STATES: tuple[str, ...] = ("SUCCEEDED", "COMPLETED", "DECLINED", "FAILED")
MOVES_MONEY = 2  # states below this one

PROVINCES: tuple[str, ...] = (
    *(
        "Albacete",
        "Almeria",
        "Badajoz",
        "Burgos",
        "Caceres",
        "Ciudad Real",
        "Cordoba",
        "Cuenca",
        "Granada",
        "Huesca",
        "Jaen",
    ),
    *(
        "Leon",
        "Lleida",
        "Murcia",
        "Palencia",
        "Salamanca",
        "Segovia",
        "Sevilla",
        "Teruel",
        "Toledo",
        "Valladolid",
        "Zamora",
    ),
)
POINTS: tuple[tuple[str, int], ...] = tuple(
    (f"{province}-{number:02d}", place)
    for place, province in enumerate(PROVINCES)
    for number in range(1, 8 if place < 14 else 7)
)
"""146 points of sale in 22 provinces: (point, place of its province)."""


class Commodity(NamedTuple):
    """What a loan at a point of sale pays for: median order (euros) and typical gross margin as a share of it."""

    name: str
    share: float
    order_amount: float
    margin: float


COMMODITIES: tuple[Commodity, ...] = (
    Commodity("feed", 0.45, 620, 0.10),
    Commodity("seed", 0.20, 380, 0.12),
    Commodity("fertiliser", 0.18, 850, 0.08),
    Commodity("young stock", 0.10, 1_400, 0.09),
    Commodity("machinery hire", 0.07, 480, 0.14),
)
TENORS_DAYS: tuple[int, ...] = (14, 30, 45, 60, 90)
TENOR_SHARES: tuple[float, ...] = (0.15, 0.40, 0.20, 0.15, 0.10)

STATE_COUNTS: tuple[float, ...] = (11_000, 8_810, 2_300, 1_250, 1_140)
"""Loans by final state (non_default, bdr_30, bdr_30_plus, npl, wo) in the portfolio the sample is modelled on.

The source gives 2,390 for npl and wo together; they are divided here.
"""
