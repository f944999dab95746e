"""Drives a real Chromium over chromedriver's HTTP (W3C WebDriver), without a package for it."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from kit.needs import need
from kit.servers import free_port
from kit.waiting import PATIENCE, until

#: axe-core 4.14.1 of the npm registry, MPL-2.0, with this integrity. It runs in tests alone.
#: sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_AXE = """
const done = arguments[arguments.length - 1];
axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}).then(
    found => done(found.violations.map(
        one => one.id + ": " + one.nodes.map(node => node.html).join(" | ").slice(0, 600))),
    error => done(["axe: " + error]));
"""
#: Collects violations of the policy before any script of the page runs.
_WATCH = """
window.broken = [];
document.addEventListener("securitypolicyviolation", event =>
    window.broken.push(event.violatedDirective + " " + event.blockedURI + " " + event.sourceFile));
"""


class Browser:
    """One Chromium without a window. Nothing is downloaded."""

    def __init__(self) -> None:
        need("chromium")
        need("chromedriver")
        port = free_port()
        self._driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
        self._url = f"http://127.0.0.1:{port}"
        assert until(self._is_up), "chromedriver did not start"
        options = {
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
            "prefs": {"credentials_enable_service": False},
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)

    def _is_up(self) -> bool:
        try:
            return bool(self._ask("GET", "/status")["ready"])
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=3 * PATIENCE) as answer:
            return json.load(answer)["value"]

    def do(self, method: str, path: str, body: Any = None) -> Any:
        return self._ask(method, self._session + path, body)

    def cdp(self, command: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, width: int = 1280, height: int = 900, *, dark: bool = False, script: bool = True) -> None:
        """Set the size of the window, the colours and whether scripts run. Below 500 pixels it is a phone."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.cdp("Emulation.setScriptExecutionDisabled", value=not script)

    def open(self, url: str) -> None:
        self.do("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.do("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        found = self.do("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def click(self, selector: str) -> None:
        try:
            self.do("POST", f"/element/{self.find(selector)}/click", {})
        except HTTPError:  # live figures have replaced the element meanwhile
            self.do("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self.do("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def text(self, selector: str = "body") -> str:
        try:
            return str(self.do("GET", f"/element/{self.find(selector)}/text"))
        except HTTPError:  # live figures have replaced the element meanwhile
            return str(self.do("GET", f"/element/{self.find(selector)}/text"))

    @property
    def url(self) -> str:
        return str(self.do("GET", "/url"))

    def cookies(self) -> list[dict[str, Any]]:
        return list(self.do("GET", "/cookie"))

    def messages(self) -> list[str]:
        """The warnings and errors of the console since the last call."""
        said = self.do("POST", "/se/log", {"type": "browser"})
        return [one["message"] for one in said if one["level"] in ("WARNING", "SEVERE")]

    def foreign_requests(self) -> list[str]:
        """The requests of the page to another origin."""
        return list(
            self.run(
                "return performance.getEntriesByType('resource').map(one => one.name)"
                ".filter(name => new URL(name).origin !== location.origin)"
            )
        )

    def violations(self) -> list[str]:
        """The violations of the policy of the page."""
        return list(self.run("return window.broken || []"))

    def axe(self) -> list[str]:
        """The faults that axe-core finds, of WCAG 2.2 A and AA."""
        self.run(AXE + "; window.axe = window.axe || axe")
        return list(self.do("POST", "/execute/async", {"script": _AXE, "args": []}))

    def picture(self, file: Path) -> None:
        """Keep what the window shows."""
        file.write_bytes(base64.b64decode(self.do("GET", "/screenshot")))

    def close(self) -> None:
        self.do("DELETE", "")
        self._driver.terminate()
        self._driver.wait(PATIENCE)
