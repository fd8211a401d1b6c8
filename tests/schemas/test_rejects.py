from __future__ import annotations

import pytest

from schemas.kinds import RejectCode
from schemas.rejects import WORDS, refuse, words_of


@pytest.mark.parametrize("code", list(RejectCode))
def test_every_code_says_what_happened_and_what_to_do(code: RejectCode) -> None:
    what, remedy = WORDS[code]
    assert what
    assert remedy
    assert words_of(code).endswith(f": {remedy}.")


def test_a_reject_says_what_is_wrong_with_this_record() -> None:
    reject = refuse(7, "decode", RejectCode.NULL_KEY, "the record has no key")
    assert (reject.record, reject.stage, reject.code) == (7, "decode", RejectCode.NULL_KEY)
    assert reject.message == "The record has no key: publish it with its user_id as the key."
