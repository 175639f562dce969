"""The cocotb side of a measurement of activity: the chip plays tokens and nothing else.

Runs inside the simulator, in the run's folder, and reports the rows that the chip chooses. Nothing
else is read back, for that would switch what no token switches.
"""

from __future__ import annotations

from typing import Any

import cocotb

from mmfree.host.interface import Fault, Request
from sim.cosim.driver import Driver
from sim.cosim.run_folder import note_position, read_run, write_rows
from sim.cosim.testbench import FOLDER


@cocotb.test()
async def play(dut: Any) -> None:
    """Play the prompts of the run's sequences; fails if a token is withheld."""
    run = read_run(FOLDER)
    driver = Driver(dut, run)
    rows: list[int] = []
    await driver.reset()
    for sequence in run.sequences:
        begin = True
        for token in sequence.prompt:
            await driver.send(Request(token=token, begin=begin))
            answer = await driver.wait()
            note_position(FOLDER)
            await driver.take()
            assert not isinstance(answer, Fault), answer
            rows.append(answer.row)
            begin = False
    write_rows(FOLDER, rows)
