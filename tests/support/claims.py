"""Other processes that are writing somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOLDERS = {
    "claim": "with claimed(path): hold()",
    "file": (
        "with open_atomically(path) as file:"
        " file.write(b'half of a longer file'); file.flush(); hold()"
    ),
    "folder": "with new_folder(path, FolderKind.of('last')) as f: (f / 'a').touch(); hold()",
}
"""What a process is in the middle of."""


def another_process(path: Path, holder: str) -> subprocess.Popen[str]:
    """A process that has begun to write to ``path``, and waits for a line on its input."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from mmfree.files.atomic import open_atomically\n"
        "from mmfree.files.claim import claimed\n"
        "from mmfree.files.folders import FolderKind, new_folder\n"
        "def hold(): print('ready', flush=True); sys.stdin.readline()\n"
        f"path = Path({str(path)!r})\n{HOLDERS[holder]}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process
