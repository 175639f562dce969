"""A bar on stderr while the simulators' processes run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from sim.cosim.run_folder import positions_played


@contextmanager
def progress_bar(
    folders: Sequence[Path], positions: int, name: str = "co-simulation"
) -> Iterator[None]:
    """Show on stderr how many positions are played, while the processes of simulators run."""
    done = threading.Event()

    def played() -> int:
        return sum(positions_played(folder) for folder in folders)

    def follow() -> None:
        with tqdm(total=positions, unit="token", desc=name, disable=None) as bar:
            while not done.wait(0.2):
                bar.update(played() - bar.n)
            bar.update(played() - bar.n)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
