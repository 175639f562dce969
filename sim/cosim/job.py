"""A run as simulators play it: one, or several that share its positions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from hdl.toolchain.emit import TOP
from mmfree.chip.folder import VERILOG_NAME
from sim.cosim.progress import progress_bar
from sim.cosim.run_folder import Result, Run, read_result, write_run
from sim.cosim.shares import Share, cut_run, join_due, join_outcomes, number_of_shares
from sim.cosim.verdict import Played
from sim.cosim.wrapper import WRAPPER, write_bench
from sim.simulators.runner import Model, SimulationFailed, SimulatorError, build, run


@dataclass(frozen=True)
class Job:
    """A run, what must come out of it, and the folder with the chip that plays it.

    ``processes``: simulators that share it, None for what suits its length.
    """

    folder: Path
    run: Run
    due: list[Played]
    simulator: str
    processes: int | None = None

    def build(self, trace: str = "") -> Model:
        """Build the simulation, or find it built."""
        run = self.run
        sources, top = [self.folder / VERILOG_NAME], TOP
        if run.recorded or run.design.external is not None:
            two_clocks = run.memory.bus_ns is not None
            sources = write_bench(
                self.folder, run.design, recorded=run.recorded, two_clocks=two_clocks
            )
            top = WRAPPER
        return build(sources, top, trace=trace, simulator=self.simulator)

    def simulate(self, trace: str = "") -> tuple[Result, list[Played]]:
        """Run a simulation of its own: what it reports, and what came out."""
        write_run(self.folder, self.run, self.due)
        model = self.build(trace)
        with progress_bar([self.folder], sum(sequence.positions for sequence in self.due)):
            return self.play(model)

    def play(self, model: Model) -> tuple[Result, list[Played]]:
        """Run a simulation that was built, of what the folder asks for."""
        try:
            run(model, "sim.cosim.testbench", self.folder)
        except SimulationFailed:
            # A difference fails the test, after it has reported what it found.
            if (reported := read_result(self.folder)) is None:
                raise
            return reported
        if (reported := read_result(self.folder)) is None:
            raise SimulatorError("the simulation reported nothing")
        return reported

    def cut(self) -> list[Share]:
        """The shares that simulators play beside each other."""
        number = self.processes or number_of_shares(self.run, self.due)
        return cut_run(self.run, self.due, number)

    def of_share(self, number: int, share: Share) -> Job:
        """The job of one of them, in a folder of its own, where all files are found, too."""
        folder = self.folder / f"share{number}"
        folder.mkdir()
        for path in self.folder.iterdir():
            if path.is_file():
                (folder / path.name).symlink_to(path)
        asked = replace(self.run, sequences=[piece.sequence for piece in share.pieces])
        write_run(folder, asked, share.due)
        return replace(self, folder=folder, run=asked, due=share.due)


def simulate_shares(job: Job, shares: list[Share]) -> tuple[Job, Result, list[Played]]:
    """Simulate shares beside each other: the job as it was played, and what came of it."""
    model = job.build()
    jobs = [job.of_share(number, share) for number, share in enumerate(shares)]

    def play(number: int) -> tuple[Result, list[Played]]:
        try:
            return jobs[number].play(model)
        except SimulationFailed as error:
            place = shares[number].place
            raise SimulationFailed(f"{error} (counted from {place} on)") from None

    positions = sum(share.positions for share in shares)
    with (
        progress_bar([part.folder for part in jobs], positions),
        ThreadPoolExecutor(len(jobs)) as pool,
    ):
        outcomes = list(pool.map(play, range(len(jobs))))
    return replace(job, due=join_due(shares)), *join_outcomes(shares, outcomes)
