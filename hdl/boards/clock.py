"""The clock of a board with an ECP5: a PLL with its settings, and the reset that waits for it."""

from __future__ import annotations

from amaranth.hdl import Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.boards.pll import PLL


class ECP5Clock(wiring.Component):
    """A clock from a board's oscillator.

    Ports::

        oscillator  in   1  of the board, of the PLL's input frequency
        clk         out  1  of the PLL's output frequency, for a domain without reset

    The global reset net holds all registers at their initial values until the PLL is locked. That
    its release reaches registers in different cycles does no harm: nothing changes before a host's
    first byte.
    """

    def __init__(self, pll: PLL) -> None:
        self._pll = pll
        super().__init__({"oscillator": In(1), "clk": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pll = self._pll
        feedback = Signal()
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            # What Lattice's own tools set for the loop filter.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=pll.input_div,
            p_CLKFB_DIV=pll.multiplier,
            p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=pll.feedback_div,
            p_CLKOP_CPHASE=pll.feedback_div - 1,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=pll.output_div,
            p_CLKOS_CPHASE=pll.output_div - 1,
            p_CLKOS_FPHASE=0,
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            i_CLKI=self.oscillator,
            i_CLKFB=feedback,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=feedback,
            o_CLKOS=self.clk,
            o_LOCK=locked,
        )
        # The lock is asynchronous to ``clk``. These two registers must run while the global reset
        # is active, so they do not take part in it (GSR).
        steps = [Signal(name=f"locked_{n}") for n in range(2)]
        source: Value = locked
        for n, step in enumerate(steps):
            m.submodules[f"synchronizer_{n}"] = Instance(
                "FD1S3AX", p_GSR="DISABLED", i_CK=self.clk, i_D=source, o_Q=step
            )
            source = step
        m.submodules.reset = Instance("SGSR", i_CLK=self.clk, i_GSR=source)
        return m
