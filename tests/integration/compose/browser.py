"""Chromium as a person uses it: it is asked for name and password, types them, and looks at the page."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
SHOWN_S = 90.0
SETTLE_S = 3.0  # figures are drawn after the words


def open_page(address: str, login: tuple[str, str], words: str, picture: Path) -> None:
    """Waits until the page shows the words, and takes its picture.

    Raises:
        SystemExit: if it does not show them in time; the picture then shows what it shows.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium must be installed: apt-get install chromium")
    # Its helpers write on for a moment after it was killed.
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*QUIET, f"--user-data-dir={profile}", "--remote-debugging-port=0", "--window-size=1400,1000", "about:blank"]
        with subprocess.Popen([chromium, *options], stderr=subprocess.PIPE, text=True) as process:
            try:
                asyncio.run(_look(_port_of(process), address, login, words, picture))
            finally:
                process.kill()


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
            return int(found.group(1))
    raise SystemExit("Chromium ended before it could be asked for a page")


async def _look(port: int, address: str, login: tuple[str, str], words: str, picture: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as reply:
            pages = await reply.json()
        page = next(one for one in pages if one["type"] == "page")
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = _Tab(socket, login)
            listening = asyncio.create_task(tab.listen())
            await tab.call("Fetch.enable", handleAuthRequests=True)
            await tab.call("Page.navigate", url=address)
            is_shown = await tab.wait_for(words)
            await asyncio.sleep(SETTLE_S)
            picture.write_bytes(base64.b64decode((await tab.call("Page.captureScreenshot"))["data"]))
            listening.cancel()
    if not is_shown:
        raise SystemExit(f"the page at {address} must show {words!r} within {SHOWN_S:.0f} s, but shows what {picture} shows")


class _Tab:
    """One page over Chromium's DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, login: tuple[str, str]) -> None:
        self._socket = socket
        self._login = login
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def listen(self) -> None:
        """Answers what the page asks for, and hands out replies."""
        name, password = self._login
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event.get("result", {}))
            elif event["method"] == "Fetch.requestPaused":
                await self._send("Fetch.continueRequest", requestId=event["params"]["requestId"])
            elif event["method"] == "Fetch.authRequired":
                answer = {"response": "ProvideCredentials", "username": name, "password": password}
                await self._send("Fetch.continueWithAuth", requestId=event["params"]["requestId"], authChallengeResponse=answer)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command and its result."""
        return await (await self._send(method, **parameters))

    async def _send(self, method: str, **parameters: Any) -> "asyncio.Future[dict[str, Any]]":
        self._number += 1
        self._answers[self._number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        return answer

    async def wait_for(self, words: str) -> bool:
        """Whether the page comes to show the words."""
        deadline_s = asyncio.get_running_loop().time() + SHOWN_S
        while asyncio.get_running_loop().time() < deadline_s:
            shown = await self.call("Runtime.evaluate", expression="document.body ? document.body.innerText : ''")
            if words in shown["result"].get("value", ""):
                return True
            await asyncio.sleep(0.5)
        return False
