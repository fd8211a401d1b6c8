"""Random streams of events that reach every branch of the fold: small amounts of everything, little time between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from schemas.batch import EVENT, MISSING_TIME_MS, EventBatch, Record
from schemas.categories import CATEGORIES, Category, words_of_text
from schemas.kinds import INPUT_TOPICS, SCORES, Kind, Rank, TransactionState
from schemas.meaning import event_hash
from schemas.row_keys import record_key, request_key
from state.category_text import packaged_text_weights
from state.profiles import Profile, ProfileBook, Trigger
from state.versions import Policy, Rate, Versions, Weights, pack_currency
from streams.scoring.value import BASIS, CONTINUOUS, KNOTS
from streams.versions.known import packaged_risk
from streams.versions.packaged_profiles import packaged_book

DAY_MS = 86_400_000
START_MS = 19_000 * DAY_MS + 7 * 3_600_000
EUR, USD, CZK = pack_currency("EUR"), pack_currency("USD"), pack_currency("CZK")
KWD, JPY, CLF = pack_currency("KWD"), pack_currency("JPY"), pack_currency("CLF")  # three, no and four decimals
RANKS = {
    Kind.ERASE: Rank.COMMANDS,
    Kind.OVERRIDE: Rank.COMMANDS,
    Kind.LIFT: Rank.COMMANDS,
    Kind.ADVANCE: Rank.COMMANDS,
    Kind.APPLICANT: Rank.APPLICANTS,
    Kind.LOAN_ISSUED: Rank.LOANS,
    Kind.LOAN_REPAID: Rank.LOANS,
    Kind.LOAN_CANCELLED: Rank.LOANS,
    Kind.TRANSACTION: Rank.TRANSACTIONS,
    Kind.OUTCOME: Rank.OUTCOMES,
}
KINDS = list(RANKS)
KINDS_OF_REQUESTS = [Kind.APPLICANT, Kind.OUTCOME, Kind.ERASE]
LIKED = [Category.PETS, Category.GAMBLING, Category.LODGING, Category.GROCERIES, Category.CASH, Category.GAMES]
DEFAULT_DATES = [-62_135_596_800_000, *(day * DAY_MS for day in (-25_569, -25_567, -24_107, -3_653, 0, 3_652, 4_018))]
"""Of common systems: years 1, 1899, 1900, 1904, 1960, 1970, 1980, and the first day that the policy takes (1981)."""
LIKELY = np.array([0.004, 0.01, 0.01, 0.01, 0.05, 0.14, 0.25, 0.03, 0.48, 0.016])


def weights(seed: int, effective_ms: int | None = None) -> Weights:
    """Some weights: any numbers do, as long as scores move."""
    rng = np.random.default_rng(seed)
    knots = np.sort(rng.uniform(0, 9, (CONTINUOUS, KNOTS)), axis=1)
    beta = rng.normal(0, 0.7, BASIS)
    phi_mean = rng.uniform(0, 0.3, BASIS)
    return Weights(
        version=f"weights-{seed}",
        effective_ms=Policy().effective_ms if effective_ms is None else effective_ms,
        beta=beta,
        knots=knots,
        phi_mean=phi_mean,
        consistency_median=0.45,
        forecasts=np.sort(rng.normal(beta.mean() * 15, 4, 200)),
        consistencies=np.sort(rng.uniform(0, 1, 150)),
        status_terciles=np.array([1.9, 2.3]),
        revenue_terciles=np.array([0.7, 1.0]),
        recency_quintiles=np.array([-120.0, -60.0, -20.0, 3.0]),
        status_quintiles=np.array([1.7, 2.0, 2.2, 2.5]),
        revenue_quintiles=np.array([0.4, 0.7, 0.95, 1.05]),
    )


def versions(adoptions: bool = True, **policy: object) -> Versions:
    """Two sets of weights and two policies, the second of each adopted in mid-stream; six currencies."""
    first = Policy(**policy)  # type: ignore[arg-type]
    policies, models = [first], [weights(1)]
    if adoptions:
        changed = {"version": "policy-2", "effective_ms": START_MS + 150 * DAY_MS, "revenue_step": 0.02, **policy}
        policies.append(Policy(**changed))  # type: ignore[arg-type]
        models.append(weights(2, START_MS + 100 * DAY_MS))
        # Two for everyone, of which one comes at an hour of its own.
        models.append(replace(weights(3, 19_120 * DAY_MS), rescore=True))
        models.append(replace(weights(4, START_MS + 140 * DAY_MS + 12_345), rescore=True))
    rates = [
        Rate(USD, Policy().effective_ms, 0.9),
        Rate(USD, START_MS + 60 * DAY_MS, 0.85),
        Rate(CZK, START_MS + 5 * DAY_MS, 0.04),
        Rate(KWD, Policy().effective_ms, 2.81),
        Rate(JPY, Policy().effective_ms, 0.0058),
        Rate(CLF, Policy().effective_ms, 36.5),
    ]
    risk = packaged_risk()
    bolder = replace(risk, version="risk-2", effective_ms=START_MS + 70 * DAY_MS, mean=1.5 * risk.mean)
    return Versions(policies, models, rates, [risk, bolder], books(), [packaged_text_weights()])


def books() -> list[ProfileBook]:
    """The packaged profiles; later one more of them is on, one is off, and there is a new one."""
    first = packaged_book()
    camper = Profile("camper", "Camper", "camps", (Trigger((Category.LODGING, Category.SPORT), 2.0),), 20.0)
    changed = {"gambler": True, "pet_owner": False}
    profiles = [replace(one, enabled=changed.get(one.profile_id, one.enabled)) for one in first.profiles]
    return [first, ProfileBook("camper-1", START_MS + 80 * DAY_MS, (*profiles, camper))]


def stream(
    seed: int,
    events: int,
    users: int,
    gap_days: float = 0.7,
    inversions: float = 0.05,
    behind_days: int = 3,
    erasures: float = 0.0,
    requests: int = 0,
) -> EventBatch:
    """`events` events of `users` users in the order they are taken, some behind their time, some again, some late.

    With `requests` so many requests that name no customer are among them; as many customers have their numbers as
    user_ids.
    """
    rng = np.random.default_rng(seed)
    columns = np.zeros(events, EVENT)
    text, records = bytearray(b""), []
    at_ms = START_MS
    names = [b"%d" % n if n < requests else b"user-%d" % n for n in range(users)]
    names += [request_key(n) for n in range(requests)]
    first_seen: dict[int, int] = {}
    sent: list[np.void] = []

    def keep(fields: np.void, name: str, value: bytes) -> None:
        fields[f"{name}_at"], fields[f"{name}_length"] = len(text), len(value)
        text.extend(value)

    for i in range(events):
        fields = columns[i]
        at_ms += int(rng.exponential(gap_days * DAY_MS)) if rng.random() < 0.7 else 0
        kind = KINDS[rng.choice(len(KINDS), p=LIKELY)]
        if erasures and rng.random() < erasures:
            kind = Kind.ERASE
        user = int(rng.integers(users + requests))
        if user >= users:
            kind = KINDS_OF_REQUESTS[rng.choice(len(KINDS_OF_REQUESTS), p=[0.55, 0.35, 0.1])]
        if sent and rng.random() < 0.04:
            # Of the last few, or of long ago: an id is remembered for a day.
            again = (
                sent[-int(rng.integers(1, min(len(sent), 4) + 1))]
                if rng.random() < 0.5
                else sent[int(rng.integers(len(sent)))]
            )
            columns[i] = again
            if rng.random() < 0.2:
                fields["content_hash"] += 1
            user = int(again["user"])
        else:
            fill(fields, kind, rng, at_ms, keep)
            if fields["has_previous"] and rng.random() < 0.6:
                earlier = [one for one in sent if one["user"] == user and one["kind"] == kind]
                if earlier:
                    correct(fields, earlier[int(rng.integers(len(earlier)))])
        fields["user"] = first_seen.setdefault(user, len(first_seen))
        behind = int(rng.integers(0, behind_days * DAY_MS)) if rng.random() < inversions else 0
        fields["record"], fields["offset"] = i, 10 * i
        fields["timestamp_ms"] = at_ms - behind
        fields["event_time_ms"] = min(fields["event_time_ms"], fields["timestamp_ms"])
        sent.append(fields.copy())
        sent[-1]["user"] = user
        topic = INPUT_TOPICS[fields["rank"]]
        records.append(Record(topic, 0, 10 * i, int(fields["timestamp_ms"]), record_key(names[user]), b""))
    ordered = [names[user] for user in first_seen]
    return EventBatch(0, records, columns, np.frombuffer(bytes(text) or b" ", np.uint8), ordered)


def correct(fields, earlier):  # type: ignore[no-untyped-def]
    """Make a correction of an event that was sent: it says what that one said, which perhaps was never taken."""
    for name in ("state", "amount", "currency", "category"):
        if f"previous_{name}" in (EVENT.names or ()):
            fields[f"previous_{name}"] = earlier[name]
    fields["previous_time_ms"] = earlier["event_time_ms"]
    for name in ("loan_id_at", "loan_id_length"):
        fields[name] = earlier[name]
    fields["revision"] = earlier["revision"] + 1


def fill(fields, kind, rng, at_ms, keep):  # type: ignore[no-untyped-def]
    """One event of a kind, with every optional part now and then."""
    fields["kind"], fields["rank"] = kind, RANKS[kind]
    fields["content_hash"] = rng.integers(0, 2**32)
    late = rng.random()
    fields["event_time_ms"] = at_ms - (0 if late < 0.8 else int(rng.integers(0, (30 if late < 0.95 else 500) * DAY_MS)))
    fields["balance"], fields["created_ms"] = np.nan, MISSING_TIME_MS
    fields["declared"] = np.nan
    fields["currency"] = rng.choice(
        [EUR, KWD, JPY, CLF, USD, CZK, pack_currency("XXX")], p=[0.72, 0.08, 0.05, 0.03, 0.06, 0.05, 0.01]
    )
    fields["revision"] = 1 if rng.random() < 0.1 else 0
    name = b"e%d" % rng.integers(8 if rng.random() < 0.1 else 10**6)  # a few ids are used again and again
    keep(fields, "event_id", name)
    if kind != Kind.ERASE and rng.random() < 0.95:
        fields["event_hash"] = event_hash(kind, name, int(fields["revision"]))
    if kind == Kind.TRANSACTION:
        fields["state"] = rng.choice(list(TransactionState), p=[0.2, 0.6, 0.12, 0.08])
        # From 0.001 on: what is less than a hundredth of the base currency has moved as well.
        fields["amount"] = 0.0 if rng.random() < 0.03 else round(float(rng.normal(0, 10 ** rng.uniform(-3, 4))), 3)
        fields["balance"] = np.nan if rng.random() < 0.3 else round(float(rng.normal(2000, 3000)), 2)
        fields["web"] = rng.random() < 0.5
        if rng.random() < 0.7:
            fields["category"] = rng.choice(LIKED) if rng.random() < 0.8 else rng.integers(CATEGORIES)
            fields["previous_category"] = rng.choice([0, 0, Category.PETS])
        elif rng.random() < 0.5:
            words = words_of_text(str(rng.choice(["LIDL 4711", "Zooplus", "casino bet", "who knows"])))
            fields["words"][: len(words)] = words
        if rng.random() < 0.5:
            fields["created_ms"] = at_ms - int(rng.integers(0, 2000 * DAY_MS))
        if fields["revision"]:
            fields["has_previous"] = True
            fields["previous_state"] = rng.choice(list(TransactionState))
            fields["previous_amount"] = round(float(rng.normal(0, 100)), 2)
            fields["previous_currency"] = rng.choice([EUR, USD])
            fields["previous_time_ms"] = at_ms + int(rng.integers(-400 * DAY_MS, 40 * DAY_MS))
    if kind in (Kind.LOAN_ISSUED, Kind.LOAN_REPAID, Kind.LOAN_CANCELLED):
        # Two loans every 60 days; some events are for one of long ago.
        era = (at_ms - START_MS) // (60 * DAY_MS) - (rng.integers(4) if rng.random() < 0.3 else 0)
        keep(fields, "loan_id", b"L-%d-%d" % (era, rng.integers(2)))
    if kind == Kind.LOAN_ISSUED:
        fields["order_amount"] = round(float(rng.uniform(1, 2000)), 4)
        fields["gross_margin"] = round(float(rng.normal(60, 80)), 2)
        fields["promo"] = round(float(rng.uniform(0, 20)), 2) if rng.random() < 0.3 else 0.0
        fields["due_ms"] = at_ms + int(rng.integers(-3, 60)) * DAY_MS
        if rng.random() < 0.03:
            fields["due_ms"] = rng.choice(DEFAULT_DATES)
        keep(fields, "point", b"point-%d" % rng.integers(4))
        keep(fields, "province", b"north")
    if kind == Kind.LOAN_REPAID:
        fields["currency"] = 0 if rng.random() < 0.8 else EUR
        fields["amount"] = round(float(rng.uniform(1, 2500)), 4)
        if fields["revision"]:
            fields["has_previous"] = True
            fields["previous_amount"] = round(float(rng.uniform(1, 900)), 4)
            fields["previous_time_ms"] = at_ms - int(rng.integers(0, 200 * DAY_MS))
            fields["amount"] = 0.0 if rng.random() < 0.5 else fields["amount"]
    if rng.random() < (0.05 if kind == Kind.LOAN_ISSUED else 0.02):
        fields["previous_time_ms" if fields["has_previous"] else "event_time_ms"] = rng.choice(DEFAULT_DATES[2:])
    if kind in (Kind.OVERRIDE, Kind.LIFT):
        fields["score"] = rng.integers(SCORES)
        fields["value"] = rng.choice([0.0, 1.0, 2.0, 3.5, 5.0, 9.0])
        fields["until_ms"] = at_ms + int(rng.integers(-5, 60) * 0.37 * DAY_MS)
        keep(fields, "author", b"ann")
    if kind == Kind.APPLICANT:
        ranges = (4000, 1500, 1200, 60_000, 4000, 2, 20_000, 3000)
        for j, highest in enumerate(ranges):
            if rng.random() < 0.6:
                fields["declared"][j] = float(rng.integers(highest))
