"""A bar on stderr while the simulator's process runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from sim.cosim.run_folder import positions_played


@contextmanager
def progress_bar(folder: Path, positions: int, name: str = "co-simulation") -> Iterator[None]:
    """Show on stderr how many positions are played, while the simulator's process runs."""
    done = threading.Event()

    def follow() -> None:
        with tqdm(total=positions, unit="token", desc=name, disable=None) as bar:
            while not done.wait(0.2):
                bar.update(positions_played(folder) - bar.n)
            bar.update(positions_played(folder) - bar.n)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
