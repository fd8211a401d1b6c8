"""What a worker writes to standard error: text for people on a terminal, a JSON object a line elsewhere."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from schemas.printable import json_text, printable


class JsonLines(logging.Formatter):
    """One JSON object a line, times in UTC; the fields of a line are fields of the object, and not in its message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json_text(line)


class TextLines(logging.Formatter):
    """A line for people, its fields behind the message. What others wrote is escaped, tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name there
        """The line of a record, without its traceback."""
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        return printable(super().formatMessage(record) + fields)


def configure(level: str, form: str) -> logging.Logger:
    """The worker's logger; `form` is text, json, or auto (text on a terminal)."""
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(TextLines("%(asctime)s %(levelname)s %(message)s") if text else JsonLines())
    logger = logging.getLogger("rescore")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger
