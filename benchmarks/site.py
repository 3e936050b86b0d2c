"""A site of 3,000 cards against mkdocs, and how soon its search answers each letter, in Chromium.

The cards are those of the folder that is given, as often as it takes; CPU time is told, which a machine that is not
quiet disturbs less, and the clock's. mkdocs makes a page of each of the same files, in its own theme, with its own
search and a navigation that lists all pages. Search is timed in the page: from the event of a letter until the rows are
there and laid out. Needs mkdocs in the environment of ``--mkdocs``, if it is to be compared, and Chromium with the
development environment's playwright.

python benchmarks/site.py CARDS [--count N] [--mkdocs PYTHON]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

QUERIES = ["resnet50 imagenet", "xcit", "bert squad ascend", "mobilenet cifar10 cv", "zzz"]
PROMISED = {"seconds": 60, "letter_ms": 50}
# Types one letter more, as the browser does, and has the page laid out.
TIME = """query => {
  const search = document.getElementById("q"), times = [];
  for (let end = 1; end <= query.length; end += 1) {
    const start = performance.now();
    search.value = query.slice(0, end);
    search.dispatchEvent(new Event("input"));
    document.body.getBoundingClientRect();
    times.push(performance.now() - start);
  }
  return times;
}"""


def lay_out(cards, count, folder):
    """Copy ``count`` cards into ``folder``, in the folders of the hub; the copies of a card in other versions."""
    files = sorted(cards.rglob("*.md"))
    for index, file in zip(range(count), cycle(files), strict=False):
        place = file.relative_to(cards)
        target = folder / place.parent / f"{'' if index < len(files) else f'{index // len(files)}_'}{place.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def run(command):
    """Wall seconds, CPU seconds and peak memory in MB of ``command``, which must end well."""
    started = time.perf_counter()
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:3]} ended with status {process.returncode}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def letters(site):
    """How long each letter of the queries takes, in ms."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(bypass_csp=True)  # else the page would not run what times it
        page = context.new_page()
        page.goto((site / "index.html").as_uri())
        page.wait_for_selector("#rows a")
        times = [taken for query in QUERIES for taken in page.evaluate(TIME, query)]
        browser.close()
    return times


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cards", type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--mkdocs", metavar="PYTHON", help="the interpreter of an environment with mkdocs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lay_out(options.cards, options.count, folder / "docs")
        wall, cpu, memory = run([sys.executable, "-m", "hubpkg", "site", folder / "docs", "--out", folder / "site"])
        entries = len(json.loads((folder / "site" / "index.json").read_bytes())["entries"])
        print(f"hubpkg site: {entries:,} cards in {wall:.1f} s, {cpu:.1f} s of CPU, {memory:.0f} MB", end=" ")
        print(f"(promised: 3,000 under {PROMISED['seconds']} s)")
        if options.mkdocs:
            (folder / "mkdocs.yml").write_text("site_name: cards\ntheme: mkdocs\n", encoding="utf-8")
            peer = run(
                [options.mkdocs, "-m", "mkdocs", "build", "-q", "-f", folder / "mkdocs.yml", "-d", folder / "peer"]
            )
            print(f"mkdocs: {peer[0]:.1f} s, {peer[1]:.1f} s of CPU, {peer[2]:.0f} MB")
            print(f"ratio of CPU time, mkdocs to hubpkg: {peer[1] / cpu:.2f}")
        times = letters(folder / "site")
        slow = statistics.quantiles(times, n=20)[-1]
        print(
            f"search: {len(times)} letters, median {statistics.median(times):.1f} ms, 95th percentile {slow:.1f} ms",
            end=" ",
        )
        print(f"(promised: under {PROMISED['letter_ms']} ms)")


if __name__ == "__main__":
    main()
