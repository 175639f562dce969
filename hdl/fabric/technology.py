"""Parts that the accelerator is mapped to by hand, where their cells do more than a synthesizer
finds.
"""

from __future__ import annotations

from enum import Enum


class Technology(Enum):
    """What a design is elaborated for: Amaranth's ``platform`` argument.

    GENERIC suits every tool, and simulation.
    """

    GENERIC = "generic"
    ECP5 = "ecp5"
    ULTRASCALE_PLUS = "ultrascale+"


def technology_of(platform: object) -> Technology:
    """The technology that ``elaborate`` was called with.

    a Technology, a board of amaranth-boards, or None.
    """
    if isinstance(platform, Technology):
        return platform
    if getattr(platform, "device", "").startswith("LFE5U"):
        return Technology.ECP5
    return Technology.GENERIC
