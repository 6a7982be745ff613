"""A real browser without a network: Debian's Chromium, driven by playwright; skipped where either is absent."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

LOCAL = ("file:", "data:", "blob:")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--force-color-profile=srgb",
]
"""No sandbox as root in a container; WebGL in software, since a test machine has no graphics card."""


@dataclass
class OpenedPage:
    """A page in a tab.

    Attributes:
        tab: Playwright's page.
        errors: What the console said as an error or a warning of a refused resource, and exceptions.
        requests: Addresses asked for that are not on this disk or in the page.
    """

    tab: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def until(self, expression: str, timeout_s: float = 15.0) -> None:
        """Wait for a JavaScript expression to be true; playwright's own way needs `eval`, which a page may forbid."""
        give_up = time.monotonic() + timeout_s
        while not self.tab.evaluate(expression):
            assert time.monotonic() < give_up, f"never true within {timeout_s:g} s: {expression}"
            self.tab.wait_for_timeout(30)

    def watch(self) -> None:
        self.tab.on("console", self._heard)
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url[:100]}"))

    def guard(self, route: Any) -> None:
        """Let through what is local, note and refuse the rest."""
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or subprocess.run([chromium, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., OpenedPage]]:
    """Opens a file in a fresh profile, offline: `open_page(path, width=1280, height=900, colour_scheme="light")`."""
    contexts = []

    def opened(path: Path, width: int = 1280, height: int = 900, colour_scheme: str = "light") -> OpenedPage:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=colour_scheme, accept_downloads=True,
            reduced_motion="reduce",
        )  # fmt: skip
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = OpenedPage(context.new_page())
        context.route("**/*", page.guard)
        context.set_offline(True)
        page.watch()
        page.tab.goto(path.resolve().as_uri(), wait_until="load")
        return page

    yield opened
    for context in contexts:
        context.close()


CONTRAST = """
() => {
  const parse = (text) => {
    const parts = text.match(/[\\d.]+/g).map(Number);
    return {rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1};
  };
  const light = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const {rgb, alpha} = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("svg, script, style, [disabled]") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const {rgb} = parse(style.color);
    const [a, b] = [light(rgb), light(ground(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    const text = element.textContent.trim().slice(0, 40);
    if (ratio < (large ? 3 : 4.5)) found.push(`${element.tagName} "${text}" ${ratio.toFixed(2)}`);
  }
  return found;
}
"""
"""Texts whose contrast is below WCAG 2.2 AA (4.5 : 1; 3 : 1 for large type), from computed styles."""


@pytest.fixture
def faint_texts() -> Callable[[OpenedPage], list[str]]:
    """Texts of a page that are too faint to read."""
    return lambda page: page.tab.evaluate(CONTRAST)
