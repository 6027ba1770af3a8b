"""The Surface page of a large run, in a real browser: `python bench/surface.py --help`.

The run is one of a store, or made first by `make_plan`, `submit` and `drive`: five axes, a few bars a trial. Then a
server of the app and a headless Chromium. The server is warm when it has shown the run once; each repetition begins in
a fresh browser context, without cookies or a cache ("again": with the cache of the first time). An interaction ends
when the map has drawn what the server sent (its `data-ready` changes) or, of a tab, when the server has finished the
page; the browser may draw longer, which the next interaction then waits for. Bytes are what the page received: bodies
of answers, from the cache too, and payloads of the WebSocket, before compression.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep import DATASET, peak_mb, write_market

MAP = "canvas.over[data-ready]"  # in a shadow tree, which Playwright's locators see into and the page's scripts don't
FIND = f"""
    window.theMap = () => {{
        const within = (root) => root.querySelector("{MAP}")
            || [...root.querySelectorAll("*")].map((one) => one.shadowRoot && within(one.shadowRoot)).find(Boolean);
        return window.foundMap?.isConnected ? window.foundMap : (window.foundMap = within(document));
    }};
"""
READY = "theMap()?.dataset.ready"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
TABS = ("3-D", "Parallel", "Importance", "Pareto", "Table", "Slices")
ALLOWED = {"open, warm server": 3.0, "slider": 1.0}


def main() -> None:
    arguments = parse()
    with contextlib.ExitStack() as stack:
        url = arguments.store or stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder))
        identity = arguments.run or sweep(url, arguments.trials, arguments.bars, arguments.workers)
        found = browse(url, identity, arguments)
    show(found)
    late = [name for name, most in ALLOWED.items() if found.median(name) > most]
    sys.exit(f"too slow: {', '.join(late)}" if arguments.check and late else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="URL of the store; a temporary folder where not said")
    parser.add_argument("--folder", help="where the temporary folder is made")
    parser.add_argument("--run", help="a run of the store: its name or identity; one is made where not said")
    parser.add_argument("--trials", type=int, default=1_000_000, help="of the run that is made")
    parser.add_argument("--bars", type=int, default=500, help="of each of its trials")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--browser", default="/usr/bin/chromium", help="path of the browser")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--pictures", help="a folder for a picture of the page and of each tab")
    parser.add_argument("--check", action="store_true", help="exit with 1 where an answer is later than is allowed")
    return parser.parse_args()


@dataclass
class Found:
    """Seconds and bytes of every repetition, by what was done; and memory, in MB."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    received: dict[str, list[int]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    scope: str = ""

    def add(self, name: str, seconds: float, received: int) -> None:
        self.seconds.setdefault(name, []).append(seconds)
        self.received.setdefault(name, []).append(received)

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])


# -- the run ----------------------------------------------------------------------------------------------------------


def sweep(url: str, n_trials: int, n_bars: int, workers: int) -> str:
    """Make a run of so many trials, and return its identity."""
    from datasets.store import open_store
    from sweeps.executors import dask_executor
    from sweeps.plan import make_plan
    from sweeps.run import drive
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    root = open_store(url)
    write_market(root, n_bars, 1)
    began = time.perf_counter()
    spec = parse_spec(specification(n_trials))
    plan = make_plan(spec, root, workers=workers)
    identity = submit(spec, root, plan=plan)
    with dask_executor(workers) as executor:
        outcome = drive(root, identity, executor)
    print(f"{outcome.n_trials:,} trials x {n_bars:,} bars made in {time.perf_counter() - began:.1f} s: {identity[:12]}")
    return identity


def specification(n_trials: int) -> dict[str, Any]:
    """Return a grid of five axes: a map of 200 x 100 or less, and the rest in stops, fees and two ways to fill."""
    slow, fast, fills = (200, 100, 2) if n_trials >= 200_000 else (50, 20, 2)
    rest = n_trials // (slow * fast * fills)
    stops = next(k for k in range(max(1, int(rest**0.5)), 0, -1) if rest % k == 0)
    spec: dict[str, Any] = {
        "version": 1,
        "run": {"name": f"surface-{n_trials}"},
        "data": {"dataset": DATASET},
        "strategy": {"name": "sma_cross"},
        "parameters": {
            "slow": {"start": 2 + fast, "stop": 1 + fast + slow, "step": 1},
            "fast": {"start": 2, "stop": 1 + fast, "step": 1},
            "execution.fee_bps": {"values": [float(fee) for fee in range(rest // stops)]},
            "execution.stop_loss": {"values": [round(0.01 * stop, 2) for stop in range(stops)]},
            "execution.fill": {"values": ["next_open", "same_close"]},
        },
    }
    if n_trials > 2_000_000:
        spec["measures"] = {"groups": ["core"]}  # so that ten million trials take less than 2 GB
    return spec


# -- the browser ------------------------------------------------------------------------------------------------------


def browse(url: str, identity: str, arguments: argparse.Namespace) -> Found:
    """Open the page again and again, and do what a reader does."""
    from playwright.sync_api import sync_playwright

    from app.serve import free_port, serving

    found = Found()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(url, port=free_port(8650)))
        found.memory["server, started"] = resident_mb(server.process.pid)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=ARGUMENTS)
        stack.callback(browser.close)
        address = f"{server.url}/surface?run={identity}"
        with tab(browser) as page:
            page.open(address, found, "open, cold server")
            found.scope = page.text("[data-testid=stMarkdown]", "trials done")
        found.memory["server, run shown"] = resident_mb(server.process.pid)
        for number in range(arguments.repeat):
            with tab(browser) as page:
                page.open(address, found, "open, warm server")
                page.open(f"{address}&again={number}", found, "open again, same browser")
                if number == 0 and arguments.pictures:
                    page.picture(Path(arguments.pictures) / "page.png")
                walk(page, found, number, arguments.pictures if number == 0 else None)
        found.memory["server, after all"] = resident_mb(server.process.pid)
        found.memory["server, peak"] = peak_mb(str(server.process.pid))
    return found


def walk(page: Tab, found: Found, number: int, pictures: str | None) -> None:
    """Move a slider, select, zoom, look at every tab, and change the measure."""
    slider = page.page.get_by_role("slider").first
    slider.focus()
    for _ in range(2):  # from "all" to the first value, and on to the next
        page.until_drawn(found, "slider", lambda: slider.press("ArrowRight"))
    page.until_drawn(found, "select", lambda: page.click(0.3 + 0.05 * number, 0.4))
    page.until_drawn(found, "zoom by wheel", lambda: page.wheel(0.5, 0.4 + 0.05 * number))
    page.until_drawn(found, "whole map", lambda: page.page.keyboard.press("0"), focus=True)
    page.until_drawn(found, "reduction: mean", lambda: page.choose("Over the rest", "mean"))
    for name in TABS:
        button = page.page.get_by_test_id("stButtonGroup").get_by_role("radio", name=name, exact=True)
        if not button.count():
            button = page.page.get_by_test_id("stButtonGroup").get_by_text(name, exact=True)
        if button.count():
            page.until_idle(found, f"tab {name}", button.first.click)
            if pictures:
                page.picture(Path(pictures) / f"{name}.png")
    page.to_top()
    page.until_drawn(found, "other measure", lambda: page.choose("Measure", "Total return"))


@contextlib.contextmanager
def tab(browser: Any) -> Iterator[Tab]:
    """Give a tab of a fresh context."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(30_000)
    yield Tab(context.new_page())
    context.close()


class Tab:
    """A tab that counts what it receives."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.received = 0
        page.add_init_script(FIND)
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: self._count(len(frame))))
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.dataReceived", lambda event: self._count(event["dataLength"]))

    def _count(self, size: int) -> None:
        self.received += size

    def open(self, address: str, found: Found, name: str) -> None:
        """Open the page and wait for its map."""
        self._timed(found, name, lambda: self.page.goto(address, wait_until="commit"), lambda: self._drawn(None))

    def until_drawn(self, found: Found, name: str, act: Any, *, focus: bool = False) -> None:
        """Do something, and wait until the map has drawn another answer of the server."""
        if focus:
            self.page.locator(MAP).first.focus()
        before = self.page.evaluate(READY)
        self._timed(found, name, act, lambda: self._drawn(before))

    def until_idle(self, found: Found, name: str, act: Any) -> None:
        """Do something, and wait until the server has run the page."""

        def idle() -> None:
            self.page.wait_for_timeout(60)
            self.page.wait_for_function("document.querySelector('[data-testid=stApp]').dataset.testScriptState"
                                        " === 'notRunning'", polling=10)  # fmt: skip

        self._timed(found, name, act, idle)

    def _drawn(self, before: str | None) -> None:
        self.page.wait_for_function(f"before => {READY} && {READY} !== before", arg=before, polling=10)

    def _timed(self, found: Found, name: str, act: Any, wait: Any) -> None:
        self.received = 0
        began = time.perf_counter()
        act()
        wait()
        seconds = time.perf_counter() - began
        self._settle()
        found.add(name, seconds, self.received)

    def _settle(self) -> None:
        """Wait until nothing comes any more, so that one interaction does not pay for another."""
        quiet = 0
        while quiet < 3:
            before = self.received
            self.page.wait_for_timeout(120)
            quiet = quiet + 1 if self.received == before else 0

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a part of the map is on the page."""
        self.page.locator(MAP).first.scroll_into_view_if_needed()
        found = self.page.evaluate("""([x, y]) => {
            const canvas = theMap(), box = canvas.getBoundingClientRect();
            const [left, top, width, height] = canvas.dataset.plot.split(',').map(Number);
            return [box.x + left + x * width, box.y + top + (1 - y) * height];
        }""", [x, y])  # fmt: skip
        return float(found[0]), float(found[1])

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.place(x, y))

    def wheel(self, x: float, y: float) -> None:
        self.page.mouse.move(*self.place(x, y))
        self.page.mouse.wheel(0, -300)

    def choose(self, label: str, option: str) -> None:
        field = self.page.get_by_role("combobox", name=label).first
        field.click()
        field.fill(option)
        field.press("Enter")

    def to_top(self) -> None:
        self.page.get_by_test_id("stMain").evaluate("main => main.scrollTo(0, 0)")
        self.page.wait_for_timeout(300)

    def text(self, selector: str, part: str) -> str:
        return str(self.page.locator(selector).filter(has_text=part).first.inner_text()).replace("\n", " ")

    def picture(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._settle()
        self.page.screenshot(path=str(path))


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


def show(found: Found) -> None:
    print(found.scope)
    print(f"load {', '.join(f'{load:.1f}' for load in os.getloadavg())}; {len(os.sched_getaffinity(0))} cores")
    print("| what | n | median, s | worst, s | kB received |\n|---|---:|---:|---:|---:|")
    for name, seconds in found.seconds.items():
        kilobytes = statistics.median(found.received[name]) / 1e3
        print(f"| {name} | {len(seconds)} | {found.median(name):.2f} | {max(seconds):.2f} | {kilobytes:,.0f} |")
    print("MB: " + ", ".join(f"{name} {size:.0f}" for name, size in found.memory.items()))


if __name__ == "__main__":
    main()
