"""``python -m mmfree.cli``: the command line, for launchers that start a module on each process."""

from __future__ import annotations

import sys

from mmfree.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
