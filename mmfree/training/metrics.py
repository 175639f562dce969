"""The numbers of a run along the way, as tables beside its checkpoint. No torch here."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from mmfree.errors import InputError
from mmfree.files.atomic import write_atomically

METRICS_NAME = "metrics.csv"
ACCURACY_NAME = "accuracy.csv"
CURVE_NAME = "loss.svg"
"""The loss of a run, drawn."""

Row = tuple[int, float, float]
"""Step, and two numbers."""


def read_rows(path: Path, step: float = math.inf) -> list[Row]:
    """Rows of metrics.csv or accuracy.csv, of the steps before ``step``; none without the file.

    A last line without its end was being written, or cut off: it is left out.

    Raises
    ------
    InputError
        If the file is not a table of a step and two numbers.
    """
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode("utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.reader(io.StringIO(whole, newline="")))[1:]
        return [(int(a), float(b), float(c)) for a, b, c in rows if int(a) < step]
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: must be a table of a step and two numbers: {error}; remove the file"
        ) from None


def write_rows(path: Path, header: str, rows: list[Row]) -> None:
    """Write such a file; ``header`` names the three columns."""
    text = header + "\n" + "".join(f"{a},{b!r},{c!r}\n" for a, b, c in rows)
    write_atomically(path, text.encode())
