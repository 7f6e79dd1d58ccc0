"""The status page in Chromium, driven by its DevTools protocol: `look URL PROFILE ALLOWLIST` visits the page in both languages, both
themes and at a phone's width, replaces the file ALLOWLIST by ALLOWLIST.next while the page is open, and prints what it saw as
JSON. Pictures are kept in the folder PROFILE."""

import base64
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

from websockets.sync.client import connect

PATIENCE = 60
CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-port=0", "--remote-allow-origins=*", "--no-first-run", "--disable-background-networking",
]
DESKTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True}


def eventually(what, condition):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise SystemExit(f"not within {PATIENCE} s: {what}")


class Browser:
    """One page of one browser."""

    def __init__(self, profile):
        command = [*CHROMIUM, f"--user-data-dir={profile}", "about:blank"]
        # Ends with this script, however that ends (PR_SET_PDEATHSIG).
        dies_too = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=dies_too, **quiet)
        port_file = os.path.join(profile, "DevToolsActivePort")
        # Written in one go, after the port is open.
        port = eventually("chromium starts", lambda: os.path.exists(port_file) and open(port_file).readline().strip())
        targets = f"http://127.0.0.1:{port}/json"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def page():
            return [one for one in json.load(opener.open(targets)) if one["type"] == "page"]

        address = eventually("a page", page)[0]["webSocketDebuggerUrl"]
        self.open = contextlib.ExitStack()
        self.socket = self.open.enter_context(connect(address, max_size=None, proxy=None))
        self.last, self.requests, self.complaints = 0, [], []
        for part in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{part}.enable")

    def call(self, method, **parameters):
        self.last += 1
        self.socket.send(json.dumps({"id": self.last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE))
            if message.get("id") == self.last:
                if "error" in message:
                    raise SystemExit(f"{method}: {message['error']}")
                return message["result"]
            self.note(message)

    def note(self, message):
        parameters = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url')}")
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]
        return result.get("value")

    def visit(self, url, screen, theme):
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.call("Page.navigate", url=url)
        live = "location.href.startsWith('http') && document.getElementById('connection')?.className"
        eventually(f"{url} is live", lambda: self.value(live) == "good")

    def picture(self, file):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))

    def tree(self):
        """Role, name and level of everything that assistive software is told of."""
        seen = []
        for node in self.call("Accessibility.getFullAXTree")["nodes"]:
            if not node.get("ignored"):
                level = [it["value"]["value"] for it in node.get("properties", []) if it["name"] == "level"]
                name = node.get("name", {}).get("value", "")
                seen.append([node["role"]["value"], name, level[0] if level else None])
        return seen

    def close(self):
        self.open.close()
        self.process.kill()
        self.process.wait()


def visits(browser, url, profile):
    """Every language, theme and width: what is measured of each."""
    for language in ("en", "zh"):
        for theme in ("light", "dark"):
            for width, screen in (("wide", DESKTOP), ("phone", PHONE)):
                browser.visit(f"{url}?lang={language}", screen, theme)
                browser.picture(os.path.join(profile, f"{language}-{theme}-{width}.png"))
                yield {
                    "language": language,
                    "theme": theme,
                    "width": width,
                    "lang": browser.value("document.documentElement.lang"),
                    "ground": browser.value("getComputedStyle(document.body).backgroundColor"),
                    "overflow": browser.value("document.documentElement.scrollWidth - innerWidth"),
                    "clipped": browser.value(
                        "[...document.querySelectorAll('main *')].filter(it => it.getBoundingClientRect().right > innerWidth + 1"
                        " && !it.closest('thead')).map(it => it.outerHTML.slice(0, 80))"
                    ),
                    "heading": browser.value("document.querySelector('h1').textContent"),
                    "tree": browser.tree(),
                }


def look(url, profile, allowlist):
    browser = Browser(profile)
    try:
        seen = {"visits": list(visits(browser, url, profile))}
        browser.visit(f"{url}?lang=en", DESKTOP, "light")
        browser.value("window.mark = 'the same document'")
        began = time.monotonic()
        os.rename(f"{allowlist}.next", allowlist)
        revoked = "document.getElementById('filings').textContent.includes('suspended')"
        closed = "document.getElementById('glance').className.includes('bad')"
        eventually("the revocation shows", lambda: browser.value(f"{revoked} && {closed}"))
        seen["seconds"] = time.monotonic() - began
        seen["mark"] = browser.value("window.mark")
        seen["text"] = browser.value("document.body.innerText")
        seen["scripted"] = browser.value("document.querySelectorAll('main script, main img, main iframe').length")
        browser.picture(os.path.join(profile, "revoked.png"))
        seen["requests"], seen["complaints"] = sorted(set(browser.requests)), browser.complaints
        print(json.dumps(seen))
    finally:
        browser.close()


if __name__ == "__main__":
    {"look": look}[sys.argv[1]](*sys.argv[2:])
