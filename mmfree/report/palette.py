"""The colours of pages and figures, each with the one that takes its place on a dark screen."""

from __future__ import annotations

import re

INK, PAPER = "#000000", "#ffffff"
"""Text and axes; what they stand on. Black and white are what matplotlib takes by itself."""

GREEN, MINT, RED, AMBER = "#0b6e4f", "#10b981", "#c8553d", "#d97706"
SKY, VIOLET, GREY = "#0ea5e9", "#7c3aed", "#94a3b8"
"""Series: the own one is green, what it is compared with grey or red."""

MUTED, LINE, PANEL, ARRAY, MEMORY = "#4b5563", "#d1d5db", "#f8fafc", "#d1fae5", "#e0e7ff"
"""Remarks, rules between rows, and the blocks of a picture."""

SHADE = "#d97708"
"""Behind text: on a dark screen amber would be too bright for what is written on it."""

PASSED, FAILED = "#0b6e50", "#b91c1c"

DARK = {
    INK: "#e5e7eb",
    PAPER: "#111827",
    GREEN: "#34d399",
    MINT: "#6ee7b7",
    RED: "#f08a72",
    AMBER: "#fbbf24",
    SHADE: "#b45309",
    SKY: "#38bdf8",
    VIOLET: "#a78bfa",
    GREY: "#94a3b8",
    MUTED: "#9ca3af",
    LINE: "#374151",
    PANEL: "#1f2937",
    ARRAY: "#064e3b",
    MEMORY: "#312e81",
    PASSED: "#34d399",
    FAILED: "#f87171",
}
"""Colour of a light page -> colour of a dark one."""


def themed(markup: str) -> str:
    """CSS or SVG, with a CSS variable for each colour that ``theme`` defines."""
    return re.sub(
        "#[0-9a-f]{6}",
        lambda found: f"var(--c{found[0][1:]})" if found[0] in DARK else found[0],
        markup,
    )


def theme() -> str:
    """CSS that gives those variables their values, as the reader's screen is light or dark."""
    light = "".join(f"--c{name[1:]}:{name};" for name in DARK)
    dark = "".join(f"--c{name[1:]}:{value};" for name, value in DARK.items())
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    )
