"""The packaged text model: what words of a description say of a purchase before any description has been seen.

    python -m local.priors.categories state/packaged/categories-1.json

Each keyword counts like `KEYWORD_PURCHASES` purchases described by it. The same table gives the same file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from local.priors.keywords import KEYWORDS
from schemas.categories import words_of_text
from state.category_text import Counts, body_of_counts

KEYWORD_PURCHASES = 20.0


def body() -> dict[str, object]:
    """The file's content."""
    counts: Counts = {}
    for category, text in KEYWORDS.items():
        for keyword in text.split():
            for word in words_of_text(keyword):
                counts[word, int(category)] = KEYWORD_PURCHASES
    return {"version": "categories-1", **body_of_counts(counts)}


def main(path: str) -> None:
    """Write the packaged model."""
    Path(path).write_text(json.dumps(body(), separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
