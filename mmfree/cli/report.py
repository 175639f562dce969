"""``mmfree report``: a page about a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError
from mmfree.inference.places import WANTED
from mmfree.shipped import COMES_ALONG, shipped_tape

EXAMPLES = (
    "mmfree report runs/text",
    "mmfree report runs/addition --out page.html",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help=f"a run folder, a checkpoint folder, or a tape; or {COMES_ALONG}",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page (default: report.html in the folder)"
    )


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    from mmfree.report.run import write_report

    if not options.run.exists() and shipped_tape(options.run) is None:
        raise InputError(f"{options.run}: no such file or folder; give {WANTED}, or {COMES_ALONG}")
    path, sections = write_report(options.run, options.out)
    values = {"report": str(path), "bytes": path.stat().st_size, "sections": sections}
    return Outcome(values, f"{path}: {', '.join(sections)}")
