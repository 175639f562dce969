"""Firefox without a screen, driven by keys through WebDriver BiDi.

Source: https://www.w3.org/TR/webdriver-bidi/
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from mmfree.errors import ToolMissing
from tests.support.processes import becomes

NAMES = ("firefox", "firefox-esr")

TAB, ENTER, CONTROL = "\ue004", "\ue007", "\ue009"
"""Keys, as WebDriver names them."""


class Firefox:
    """One tab. What its console is told and what it asks of a network: `told`, `asked`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.told: list[str] = []
        self.asked: list[str] = []
        self._socket = socket
        self._sent = 0
        self._order("session.new", capabilities={})
        self._order("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        # A tab that is there has no focus without a screen, and then Enter presses no button.
        self._tab = self._order("browsingContext.create", type="tab")["context"]

    def resize(self, width: int, height: int) -> None:
        """In CSS pixels."""
        size = {"width": width, "height": height}
        self._order("browsingContext.setViewport", context=self._tab, viewport=size)

    def open(self, path: Path) -> None:
        url = path.as_uri()
        self._order("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Its value in the page, which JSON can express."""
        found = self._order(
            "script.evaluate",
            expression=f"JSON.stringify(({expression}) ?? null)",
            target={"context": self._tab},
            awaitPromise=False,
        )
        assert found["type"] == "success", found["exceptionDetails"]["text"]
        return json.loads(found["result"]["value"])

    def becomes(self, expression: str) -> bool:
        """Whether it does, soon enough."""
        return becomes(lambda: self.evaluate(expression))

    def press(self, *keys: str) -> None:
        """One after the other, in whatever has the focus; text is typed."""
        actions = []
        for key in "".join(keys):
            actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._act(actions)

    def select_all(self) -> None:
        """In the field that has the focus."""
        down, up = ([{"type": kind, "value": CONTROL}] for kind in ("keyDown", "keyUp"))
        self._act(down + [{"type": kind, "value": "a"} for kind in ("keyDown", "keyUp")] + up)

    def _act(self, actions: list[dict[str, str]]) -> None:
        keys = {"type": "key", "id": "keyboard", "actions": actions}
        self._order("input.performActions", context=self._tab, actions=[keys])

    def _order(self, method: str, **params: Any) -> Any:
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            got = json.loads(self._socket.recv(timeout=60))
            if got.get("id") == self._sent:
                assert got["type"] == "success", got
                return got["result"]
            if got.get("method") == "log.entryAdded":
                self.told.append(got["params"]["text"])
            elif got.get("method") == "network.beforeRequestSent":
                url = got["params"]["request"]["url"]
                # Firefox reports its own fonts, too, which are in such addresses.
                self.asked += [] if url.startswith("data:") else [url]


@contextmanager
def firefox(folder: Path, *, dark: bool = False) -> Iterator[Firefox]:
    """With a profile of its own in a folder that there is; ends with the block."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ToolMissing("no Firefox on PATH: `make browser` installs it")
    dark_theme = f'user_pref("ui.systemUsesDarkTheme", {int(dark)});\n'
    (folder / "user.js").write_text(dark_theme, encoding="utf-8")
    arguments = ["--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", folder]
    with subprocess.Popen(
        [found, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            lines = (re.search(r"BiDi listening on (ws://\S+)", line) for line in process.stderr)
            address = next(filter(None, lines))[1]
            with connect(f"{address}/session", max_size=None) as socket:
                yield Firefox(socket)
        finally:
            process.terminate()
