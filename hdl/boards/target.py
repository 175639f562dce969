"""Devices as nextpnr knows them."""

from __future__ import annotations

from dataclasses import dataclass

DEVICE_OPTIONS = {
    "LFE5U-12F": "--12k",
    "LFE5U-25F": "--25k",
    "LFE5U-45F": "--45k",
    "LFE5U-85F": "--85k",
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A device as nextpnr knows it.

    ``device`` of DEVICE_OPTIONS, ``package`` (CABGA381 and the like), ``speed`` grade 6, 7 or 8.
    """

    device: str = "LFE5U-85F"
    package: str = "CABGA381"
    speed: int = 6

    @property
    def options(self) -> list[str]:
        """Options of nextpnr-ecp5."""
        return [DEVICE_OPTIONS[self.device], "--package", self.package, "--speed", str(self.speed)]
