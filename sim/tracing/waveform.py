"""Where a waveform may be written, checked before anything takes time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmfree.errors import InputError


def check_waveform(waveform: Path | None) -> None:
    """InputError, before anything is simulated, if the file could not be written."""
    if waveform is None:
        return
    if waveform.is_dir():
        raise InputError(f"{waveform}: a folder; --waveform needs the name of a file")
    try:
        waveform.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=waveform.parent):
            pass
    except OSError as error:
        raise InputError(
            f"{waveform}: cannot be written ({error.strerror}); give --waveform another place"
        ) from None
