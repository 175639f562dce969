"""What is kept of a run along the way, beside its checkpoint: tables, and texts. No torch here."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from mmfree.errors import InputError
from mmfree.files.atomic import write_atomically

METRICS_NAME = "metrics.csv"
ACCURACY_NAME = "accuracy.csv"
VALIDATION_NAME = "validation.csv"
RANGES_NAME = "ranges.csv"
SAMPLES_NAME = "samples.jsonl"
CURVE_NAME = "loss.svg"
"""The loss of a run, drawn."""

VALIDATION_HEADER = "step,loss,bits_per_byte"
"""Columns of VALIDATION_NAME: steps done, nats per token on held-out text, and bits per byte."""

RANGES_HEADER = "step,at_limit_8_bits,at_limit_16_bits"
"""Columns of RANGES_NAME: steps done, and the largest share of an intermediate's values that lie at
a limit of their width: of those of 8 bits, and of those of 16.
"""

OFTEN = 0.01
"""A tape is refused if a larger share of an intermediate's values lies at its limit."""

Row = tuple[int, float, float]
"""Step, and two numbers."""


def read_rows(path: Path, step: float = math.inf) -> list[Row]:
    """Rows of a run's table (metrics.csv, accuracy.csv, validation.csv), of the steps before
    ``step``; none without the file.

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


def best_step(rows: list[Row], since: int, ranges: list[Row]) -> int | None:
    """Steps after which the loss of VALIDATION_NAME was least, the first of equals.

    Those whose values lay too often at their limits (``ranges``: rows of RANGES_NAME) do not count,
    if there are others. None without a row of a step after ``since`` that has a loss: held-out text
    without a token has none, NaN.
    """
    comparable = [row for row in rows if row[0] > since and not math.isnan(row[1])]
    refused = {step for step, *shares in ranges if max(shares) > OFTEN}
    exportable = [row for row in comparable if row[0] not in refused]
    return min(exportable or comparable, key=lambda row: row[1])[0] if comparable else None


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote after ``step`` steps."""

    step: int
    text: str


def read_samples(path: Path, step: float = math.inf) -> list[Sample]:
    """Texts of samples.jsonl, of the steps before ``step``; none without the file.

    Raises
    ------
    InputError
        If a line is no JSON object of a step and a text.
    """
    if not path.exists():
        return []
    try:
        found = [json.loads(line) for line in path.read_bytes().decode("utf-8").splitlines()]
        samples = [Sample(int(one["step"]), str(one["text"])) for one in found]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: must hold a JSON object with step and text in each line: {error!r}; remove"
            " the file"
        ) from None
    return [sample for sample in samples if sample.step < step]


def write_samples(path: Path, samples: list[Sample]) -> None:
    """Write such a file."""
    text = "".join(json.dumps(asdict(sample)) + "\n" for sample in samples)
    write_atomically(path, text.encode())
