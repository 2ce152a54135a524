"""Chromium driven through its debugging pipe: no driver program, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


SHOWN = """
window.shown = (text, tag = "*") => [...document.querySelectorAll(tag)]
    .filter(e => e.textContent.trim() === text && e.getClientRects().length).pop();
"""
"""In every page: the innermost visible element of a kind that holds a text and nothing else."""


class Chromium:
    """One page of a headless browser."""

    def __init__(self, profile: Path, width: int = 1000, height: int = 700) -> None:
        assert PROGRAM is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The browser reads its commands from descriptor 3 and answers on 4. Bash, because a plain
        # shell may know descriptors of one digit only.
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                shell,
                PROGRAM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._answers = os.fdopen(self._read, "rb")
        self._number = 0
        self.events: list[dict[str, Any]] = []
        try:
            self._session = self._attach()
        except BaseException:
            self._process.kill()
            self._let_go()
            raise

    def _attach(self) -> str:
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable", {}, session)
        self._ask("Page.addScriptToEvaluateOnNewDocument", {"source": SHOWN}, session)
        return session

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the Chrome DevTools Protocol to the page."""
        return self._ask(method, parameters, self._session)

    def open(self, url: str) -> None:
        """Load ``url`` and wait until it is there."""
        seen = len(self.events)
        self.ask("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events[seen:]):
            self._receive()

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 60) -> Any:
        """The value of ``script`` as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, (
                f"not within {seconds:.0f} s: {script}\n{self.evaluate('document.body.innerText')}"
            )
            time.sleep(0.1)
        return value

    def click(self, element: str, seconds: float = 60) -> None:
        """Click with the mouse in the middle of an element, once it is there and at rest."""
        self.wait_for(f"!!({element})", seconds)
        middle = (
            f"(e => {{e.scrollIntoView({{block: 'nearest'}}); const r = e.getBoundingClientRect();"
            f"return [r.x + r.width / 2, r.y + r.height / 2]}})({element})"
        )
        before, now = None, self.evaluate(middle)
        while before != now:  # menus glide into their place
            time.sleep(0.1)
            before, now = now, self.evaluate(middle)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask(
                "Input.dispatchMouseEvent",
                type=kind,
                x=now[0],
                y=now[1],
                button="left",
                clickCount=1,
            )

    def press(self, key: str, code: str, *, alt: bool = False) -> None:
        """Press and release a key, ``e`` and its ``KeyE``, with or without Alt."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=code, modifiers=int(alt))

    def screenshot(self, path: Path) -> None:
        """Write what is to be seen as a PNG."""
        png = self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(png))

    def complaints(self) -> list[str]:
        """Errors and warnings that the page caused."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        found = [json.dumps(event) for event in self.events if event["method"] in kinds]
        for event in self.events:
            if event["method"] == "Runtime.consoleAPICalled":
                found.append(json.dumps(event["params"]))
        return found

    def console_errors(self) -> list[str]:
        """What the page's scripts reported as errors."""
        calls = (e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled")
        thrown = [e for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        return [json.dumps(c) for c in calls if c["type"] == "error"] + [
            json.dumps(error) for error in thrown
        ]

    def requests(self) -> list[str]:
        """Everything that the page asked for."""
        sent = (e for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in sent]

    def close(self) -> None:
        """End the browser."""
        self._ask("Browser.close", {})
        self._let_go()

    def _let_go(self) -> None:
        self._process.wait(timeout=20)
        self._answers.close()
        os.close(self._write)

    def _ask(
        self, method: str, parameters: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        raw = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has gone"
            raw += byte
        message = json.loads(raw)
        if "id" not in message:
            self.events.append(message)
        return message
