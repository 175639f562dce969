"""The cocotb side of a measurement of activity: the chip plays tokens and nothing else.

Runs inside the simulator, in the run's folder. Its choices are compared with the golden model's.
Nothing is read back between tokens, for that would switch what no token switches.
"""

from __future__ import annotations

from typing import Any

import cocotb

from mmfree.host.interface import Fault, Request
from sim.cosim.driver import Driver
from sim.cosim.run_folder import note_position, read_run, read_tapes
from sim.cosim.testbench import FOLDER, Model


@cocotb.test()
async def play(dut: Any) -> None:
    """Play the run's sequences; fails if the chip chooses another row than the golden model."""
    run = read_run(FOLDER)
    driver = Driver(dut, run)
    model = Model(read_tapes(FOLDER)[0])
    await driver.reset()
    for sequence in run.sequences:
        begin = True
        for token in sequence.prompt:
            await driver.send(Request(token=token, begin=begin))
            answer = await driver.wait()
            note_position(FOLDER)
            await driver.take()
            assert not isinstance(answer, Fault), answer
            if run.checked:
                _, expected, _ = model.play(token, begin)
                assert answer.row == expected, (
                    f"the chip chose row {answer.row}, the golden model {expected}"
                )
            begin = False
