"""The testbench of a co-simulation, on a chip with planted errors of which one is chosen.

Run by test_planted.py in the place of ``sim.cosim.testbench``. The number of the error is on the
data pins of the load port, which nothing else drives where no model is loaded.
"""

from __future__ import annotations

import json

from sim.cosim.driver import Driver
from sim.cosim.testbench import FOLDER, play

__all__ = ["play"]

_reset = Driver.reset


async def _planted_reset(driver: Driver) -> None:
    await _reset(driver)
    driver._dut.load__data.value = json.loads((FOLDER / "planted.json").read_text())


Driver.reset = _planted_reset  # type: ignore[method-assign]
