"""The cocotb side of a measurement of activity.

The chip alone, one token after another, its choices compared with the golden model's.

Runs inside the simulator, in the run's folder. Nothing is read back between tokens, for that would
switch what no token switches.
"""

from __future__ import annotations

from typing import Any

import cocotb

from mmfree.chip.design import Design
from sim.cosim.driver import Driver, Fault
from sim.cosim.run_folder import note_position, read_run, read_tapes
from sim.cosim.testbench import FOLDER, Model


@cocotb.test()
async def play(dut: Any) -> None:
    """Play the run's sequences; fails if the chip chooses another row than the golden model."""
    run = read_run(FOLDER)
    driver = Driver(dut, Design.from_dict(run.design), run)
    model = Model(read_tapes(FOLDER)[0])
    await driver.reset()
    for sequence in run.sequences:
        begin = True
        for token in sequence["prompt"]:
            await driver.send(token, begin)
            answer = await driver.wait()
            note_position(FOLDER)
            await driver.take()
            assert not isinstance(answer, Fault), answer
            if run.checked:
                _, expected, _ = model.play(token, begin)
                assert answer[0] == expected, (
                    f"the chip chose row {answer[0]}, the golden model {expected}"
                )
            begin = False
