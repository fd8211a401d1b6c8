"""What a lifestyle profile is: who has it is told from shares and numbers of purchases in categories. Immutable values.

Profiles are declared in files and reach every worker as broadcast records. `ProfileBook` is all profiles in force from
a moment on; `streams.scoring.profiles` says what they mean for a customer.
"""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

PROFILES_MAX = 50
"""Profiles there may be, in force or not: which of them hold is a set of bits in a double, 53 at most."""
TRIGGERS_MAX = 4


@dataclass(frozen=True, slots=True)
class Trigger:
    """Conditions that have to be met together: each names the measure at which it is met in full; 0 asks nothing.

    The measures are sums over `categories`: purchases, money spent in minor units of the base currency, and the shares
    of all purchases and of all money spent.
    """

    categories: tuple[int, ...]
    purchases: float
    spent_minor: int = 0
    share_of_spending: float = 0.0
    share_of_purchases: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile. Of several triggers the one that is met best counts."""

    profile_id: str
    title: str
    text: str
    triggers: tuple[Trigger, ...]
    half_life_days: float
    purpose: str = "marketing"
    sensitive: bool = False
    enabled: bool = True

    @property
    def key(self) -> int:
        """What rows know the profile by."""
        return xxhash.xxh32_intdigest(self.profile_id.encode())


@dataclass(frozen=True, slots=True)
class ProfileBook:
    """All profiles in force from a moment on, named after the version that made it so."""

    version: str
    effective_ms: int
    profiles: tuple[Profile, ...]
