"""Parts whose cells the accelerator uses directly, where they do more than a synthesizer finds."""

from __future__ import annotations

from enum import Enum


class Technology(Enum):
    """What a design is elaborated for: Amaranth's ``platform`` argument.

    GENERIC is for every tool, and for simulation.
    """

    GENERIC = "generic"
    ECP5 = "ecp5"
    ULTRASCALE_PLUS = "ultrascale+"


def technology_of(platform: object) -> Technology:
    """The technology of ``platform``: a Technology, a board of amaranth-boards, or None."""
    if isinstance(platform, Technology):
        return platform
    if getattr(platform, "device", "").startswith("LFE5U"):
        return Technology.ECP5
    return Technology.GENERIC
