"""What a purchase was for: categories of spending, from the merchant category code, and the words of a description.

A category is a small number (`Category`), part of stored rows: members are only ever appended. A code of ISO 18245 says
it at once, by a table. Where there is none, the words of the description are hashed, and `state.category_text` makes a
guess of them. What stands in the place of a code and is none is not guessed at: `mcc_of` says so.
"""

from __future__ import annotations

import re
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled


class Category(IntEnum):
    """What money was spent on."""

    UNKNOWN = 0
    GROCERIES = 1
    RESTAURANTS = 2
    BARS = 3
    FUEL = 4
    PUBLIC_TRANSPORT = 5
    TAXIS = 6
    CAR = 7
    AIRLINES = 8
    LODGING = 9
    TRAVEL = 10
    HEALTH = 11
    BEAUTY = 12
    CLOTHING = 13
    ELECTRONICS = 14
    GAMES = 15
    DIGITAL_MEDIA = 16
    BOOKS = 17
    GAMBLING = 18
    EDUCATION = 19
    CHILDREN = 20
    PETS = 21
    SPORT = 22
    CULTURE = 23
    HOME_IMPROVEMENT = 24
    FURNITURE = 25
    GARDEN = 26
    UTILITIES = 27
    TELECOM = 28
    INSURANCE = 29
    HOUSING = 30
    TRANSFERS = 31
    CASH = 32
    CHARITY = 33
    ONLINE_RETAIL = 34
    DEPARTMENT_STORES = 35
    JEWELLERY = 36
    TOBACCO = 37
    GOVERNMENT = 38
    SERVICES = 39
    HOBBIES = 40
    FARMING = 41
    OTHER = 42


CATEGORY_NAMES: tuple[str, ...] = tuple(category.name.lower() for category in Category)
CATEGORIES = len(CATEGORY_NAMES)

MOVED_MONEY: tuple[Category, ...] = (Category.TRANSFERS, Category.CASH)
"""Money that changed its place and bought nothing: it has its own place, and no part in the sum of all spending."""

Codes = tuple[tuple[int, int], ...]

CODES: tuple[tuple[Category, Codes], ...] = (
    (Category.FARMING, ((763, 763), (5261, 5261))),
    (Category.PETS, ((742, 742), (5995, 5995))),
    (Category.GARDEN, ((780, 780),)),
    (Category.HOME_IMPROVEMENT, ((1520, 1799), (5200, 5211), (5231, 5231), (5251, 5251), (7692, 7692))),
    (Category.SERVICES, ((2741, 2842), (7210, 7221), (7251, 7296), (7299, 7399), (7622, 7641), (8111, 8111))),
    (Category.AIRLINES, ((3000, 3350), (4511, 4511), (4582, 4582))),
    (Category.TRAVEL, ((3351, 3500), (4411, 4411), (4457, 4468), (4722, 4723), (7512, 7519))),
    (Category.LODGING, ((3501, 3999), (7011, 7033))),
    (Category.PUBLIC_TRANSPORT, ((4011, 4112), (4131, 4131))),
    (Category.HEALTH, ((4119, 4119), (5047, 5047), (5122, 5122), (5912, 5912), (5975, 5976), (8011, 8099))),
    (Category.TAXIS, ((4121, 4121),)),
    (Category.SERVICES, ((4214, 4225),)),
    (Category.CAR, ((4784, 4784), (4789, 4789), (5511, 5533), (5561, 5599), (7523, 7549), (5013, 5013))),
    (Category.TELECOM, ((4812, 4821), (4899, 4899))),
    (Category.TRANSFERS, ((4829, 4829), (6012, 6012), (6050, 6051), (6211, 6211), (6529, 6540))),
    (Category.UTILITIES, ((4900, 4900), (5983, 5983))),
    (Category.ELECTRONICS, ((5044, 5046), (5065, 5065), (5722, 5722), (5732, 5732), (5734, 5734), (5946, 5946))),
    (Category.JEWELLERY, ((5094, 5094), (5944, 5944))),
    (Category.BOOKS, ((5111, 5111), (5192, 5192), (5735, 5735), (5942, 5943), (5994, 5994))),
    (Category.CLOTHING, ((5137, 5139), (5611, 5631), (5651, 5699), (5931, 5931), (5948, 5949), (7251, 7251))),
    (Category.CHILDREN, ((5641, 5641), (5945, 5945), (8351, 8351))),
    (Category.DEPARTMENT_STORES, ((5300, 5399), (5310, 5311), (5715, 5715), (5999, 5999))),
    (Category.GROCERIES, ((5411, 5411), (5422, 5499), (5921, 5921))),
    (Category.FUEL, ((5541, 5542), (5552, 5552))),
    (Category.FURNITURE, ((5712, 5714), (5718, 5719), (5950, 5950))),
    (Category.RESTAURANTS, ((5811, 5812), (5814, 5814))),
    (Category.BARS, ((5813, 5813),)),
    (Category.DIGITAL_MEDIA, ((5815, 5815), (5817, 5818), (7829, 7829), (7841, 7841))),
    (Category.GAMES, ((5816, 5816), (7993, 7994))),
    (Category.ONLINE_RETAIL, ((5262, 5262), (5961, 5969))),
    (Category.INSURANCE, ((5960, 5960), (6300, 6399))),
    (Category.SPORT, ((5655, 5655), (5940, 5941), (7941, 7941), (7992, 7992), (7997, 7997))),
    (Category.HOBBIES, ((5733, 5733), (5937, 5937), (5947, 5947), (5970, 5973), (5992, 5992), (5998, 5998))),
    (Category.BEAUTY, ((5977, 5977), (7230, 7230), (7297, 7298))),
    (Category.TOBACCO, ((5993, 5993),)),
    (Category.CASH, ((6010, 6011),)),
    (Category.HOUSING, ((6513, 6513), (7349, 7349))),
    (Category.GAMBLING, ((7800, 7802), (7995, 7995), (9406, 9406))),
    (Category.CULTURE, ((7832, 7832), (7911, 7933), (7991, 7991), (7996, 7996), (7998, 7999))),
    (Category.EDUCATION, ((8211, 8299),)),
    (Category.CHARITY, ((8398, 8398),)),
    (Category.SERVICES, ((8675, 8999),)),
    (Category.GOVERNMENT, ((9211, 9405), (9407, 9999))),
)
"""First and last merchant category code (ISO 18245) of each category; where ranges overlap, the narrowest counts.

Religious, political and civic associations (8641, 8651, 8661) have none of their own: what a person believes is not to
be seen from what a bank keeps about them.
"""

NO_CODE = 10_000


def _table() -> NDArray[np.uint8]:
    """The category of each code. Codes of no category of ours are OTHER; 0000 is no code."""
    table = np.full(NO_CODE + 1, Category.OTHER, np.uint8)
    ranges = [(last - first, first, last, category) for category, codes in CODES for first, last in codes]
    for _, first, last, category in sorted(ranges, reverse=True):
        table[first : last + 1] = category
    table[0] = table[NO_CODE] = Category.UNKNOWN
    return table


CATEGORY_OF_CODE = _table()
"""By merchant category code; UNKNOWN at 0 and at NO_CODE, which stands for whatever is no code."""

WORDS_MAX = 6
"""Words of a description that are looked at; the first ones name the merchant."""
WORD_BYTES_MIN = 3

_OFFSET, _PRIME = np.uint32(2_166_136_261), np.uint32(16_777_619)


_MCC = re.compile(r"([0-9]{1,4})(?:\.0*)?")


def mcc_of(text: str) -> str | None:
    """The four digits of a merchant category code; empty where no code is given, None where something else is.

    A number that a spreadsheet or a data frame made of a code is read as the code it was: without its leading zero
    (742, veterinary services; no code has two), or with decimals that are zero (5411.0). Zero is no code.

    >>> mcc_of("5411"), mcc_of("742"), mcc_of("5411.0"), mcc_of("0"), mcc_of(" "), mcc_of("54"), mcc_of("groceries")
    ('5411', '0742', '5411', '', '', None, None)
    """
    given = text.strip()
    if not given:
        return ""
    found = _MCC.fullmatch(given)
    if found is None:
        return None
    digits = found[1]
    if int(digits) == 0:
        return ""
    return digits.zfill(4) if len(digits) >= 3 else None


@compiled
def category_of_mcc(data: NDArray[np.uint8], at: int, length: int) -> int:
    """The category of a merchant category code that is plainly one, four digits at data[at:]; -1 for all else."""
    if length != 4:
        return -1
    code = 0
    for i in range(4):
        digit = np.int64(data[at + i]) - 48
        if digit < 0 or digit > 9:
            return -1
        code = 10 * code + digit
    return np.int64(CATEGORY_OF_CODE[code])


@compiled
def hash_words(data: NDArray[np.uint8], at: int, length: int, words: NDArray[np.uint32]) -> int:
    """The first WORDS_MAX words of a text into `words`, zeros behind them, each as 32 bits of FNV-1a; answers how many.

    A word is a run of letters, three bytes at least; capitals of ASCII count as small ones, whatever is beyond ASCII
    as it is. Numbers (of cards, terminals, dates) are no words.
    """
    count, size, hashed = 0, 0, _OFFSET
    words[:] = 0
    for i in range(length + 1):
        byte = np.uint32(data[at + i]) if i < length else np.uint32(32)
        if np.uint32(65) <= byte <= np.uint32(90):
            byte += np.uint32(32)
        if byte >= np.uint32(128) or np.uint32(97) <= byte <= np.uint32(122):
            hashed = np.uint32((hashed ^ byte) * _PRIME)
            size += 1
            continue
        if size >= WORD_BYTES_MIN:
            words[count] = max(hashed, np.uint32(1))
            count += 1
            if count == WORDS_MAX:
                break
        size, hashed = 0, _OFFSET
    return count


def category_of_code(mcc: str) -> Category:
    """The category of a code as text; UNKNOWN where there is none, or something else in its place.

    >>> category_of_code("5411").name, category_of_code("742").name, category_of_code("54")
    ('GROCERIES', 'PETS', <Category.UNKNOWN: 0>)
    """
    return Category(int(CATEGORY_OF_CODE[int(mcc_of(mcc) or 0)]))


def words_of_text(text: str) -> list[int]:
    """The hashed words of a text, as columns hold them.

    >>> words_of_text("Lidl 4711 BERLIN") == words_of_text("LIDL Berlin"), words_of_text("A1 42")
    (True, [])
    """
    data, words = np.frombuffer(text.encode(), np.uint8), np.zeros(WORDS_MAX, np.uint32)
    count = int(hash_words(data, 0, len(data), words))
    return [int(word) for word in words[:count]]
