"""``mmfree report``: a page about a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmfree.cli.outcome import Outcome
from mmfree.errors import InputError

SUMMARY = "one self-contained HTML page about a run"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a demo, or of a checkpoint"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page; None: report.html in the folder"
    )


def run(options: argparse.Namespace) -> Outcome:
    """Carry out the verb."""
    from mmfree.report.run import write_report

    if not options.run.is_dir():
        raise InputError(f"{options.run}: not a folder")
    path, sections = write_report(options.run, options.out)
    values = {"report": str(path), "bytes": path.stat().st_size, "sections": sections}
    return Outcome(values, f"{path}: {', '.join(sections)}")
