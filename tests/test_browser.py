"""Report and site in headless Chromium: clicks, keys, widths, the dark, and what a screen reader needs."""

import re
import threading

import drawn
import pytest

from hubpkg import report, site
from hubpkg.server import Server

CARDS = 150  # more than are shown at once
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
PACKAGE = "lab/2.8/tiny_digits.report.html"
CARD = "mindspore/1.9/net007_mnist.report.html"
WIDE, EVIL = "lab/2.8/wide_imagenet.report.html", "else/1.0/evil_card.report.html"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two packages, one with a thousand classes, and many cards, one of them hostile."""
    made = tmp_path_factory.mktemp("dist")
    reported = [{"source": "A list", "link": "https://example.com/list", "top1": 91.0}]
    drawn.package(made, classes=20, change=lambda card: card.update(reported=reported))
    drawn.package(made, name="wide_imagenet", classes=1000, images=1500, right=0.7)
    for index in range(CARDS):
        dataset = ("mnist", "coco")[index % 2]
        given = {"dataset": dataset, "evaluation": f"top1acc{index / 2:.2f}", "day": f"2023-01-{index % 28 + 1:02d}"}
        drawn.card(made, f"mindspore/1.9/net{index:03d}_{'mnist' if index % 2 else 'coco'}", **given)
    text = "<script>console.error('run')</script><img src=x onerror=\"console.error('run')\">\n\n| a |\n|---|\n| b |"
    hostile = {"name": "evil", "text": text, "summary": "<img src=x onerror=console.error(1)></script><script>a"}
    drawn.card(made, "else/1.0/evil_card", task="nlp", day="2020-01-01", **hostile)
    return made


@pytest.fixture(scope="module")
def url(folder):
    server = Server(folder, 0, print)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server.url
    server.shutdown()
    thread.join()


@pytest.fixture
def opened(browser):
    """Opens a page of a width and a colour scheme; in the end, nothing was said on the console or asked of others."""
    contexts, said, asked = [], [], []

    def open_page(address, size=DESKTOP, scheme="light", *, ready="h1"):
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector(ready)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    others = [address for address in asked if not re.match(r"http://127\.0\.0\.1:|file:|data:", address)]
    assert others == []


def names(page):
    return page.locator("#rows th a:first-child").all_inner_texts()


def test_search_answers_each_letter(opened, url):
    page = opened(url)
    assert page.locator("#status").inner_text() == f"{CARDS + 3} models"
    page.get_by_label("Search").press_sequentially("net007 mni")
    assert names(page) == ["net007_mnist"]
    assert page.locator("#status").inner_text() == f"1 of {CARDS + 3} models"
    page.get_by_label("Search").press_sequentially("x")
    assert names(page) == []
    page.get_by_role("button", name="Clear all").click()
    assert len(names(page)) == 100
    assert page.get_by_label("Search").evaluate("each => each === document.activeElement")


def test_a_click_on_a_result_shows_its_page_and_leads_back(opened, url):
    page = opened(url)
    page.get_by_label("Search").press_sequentially("tiny")
    page.get_by_role("link", name="tiny_digits").click()
    page.wait_for_selector("#calibration")
    assert page.url == url + PACKAGE
    page.get_by_role("link", name="All models").click()
    page.wait_for_selector("#rows a")
    assert page.url == f"{url}index.html"


def test_filters_narrow_and_are_kept_in_the_address(opened, url):
    page = opened(url)
    page.get_by_label("Dataset", exact=True).select_option("coco")
    page.get_by_label("State").select_option("Card alone")
    assert page.locator("#status").inner_text() == f"75 of {CARDS + 3} models"
    page.wait_for_url(re.compile("#(?=.*=coco)(?=.*=card)"))  # a slow machine may keep one before the other
    again = opened(page.url)
    assert again.locator("#status").inner_text() == f"75 of {CARDS + 3} models"
    assert again.get_by_label("State").input_value() == "card"
    page.get_by_label("Task", exact=True).select_option("nlp")
    assert names(page) == []


def test_heads_of_columns_sort_both_ways_and_say_so(opened, url):
    page = opened(url)
    metric = page.get_by_role("columnheader", name="Metric")
    page.get_by_role("button", name="Metric").click()
    assert metric.get_attribute("aria-sort") == "descending"
    shown = [
        float(each)
        for each in page.locator("#rows td:nth-child(4)").evaluate_all(
            "cells => cells.map(cell => cell.firstChild.textContent)"
        )
    ]
    assert shown == sorted(shown, reverse=True)
    page.get_by_role("button", name="Metric").press("Enter")
    assert metric.get_attribute("aria-sort") == "ascending"
    assert names(page)[0] == "net000_coco"
    page.get_by_role("button", name="Model", exact=True).click()
    assert names(page)[0] == "evil_card"
    assert page.locator("th[aria-sort]").count() == 1


def test_an_address_with_any_order_shows_what_it_is_sorted_by(opened, url):
    page = opened(f"{url}#sort=-path")
    assert page.get_by_label("Sort by").input_value() == "-path"
    assert names(page)[0] == f"net{CARDS - 1}_mnist"
    for odd in ("--path", "-words", "x"):
        page.evaluate(f"location.hash = 'sort={odd}'")
        page.wait_for_function("document.getElementById('sort').value === '-updated'")
        page.evaluate("location.hash = 'sort=-path'")
        page.wait_for_function("document.getElementById('sort').value === '-path'")


def test_a_chinese_card_is_a_link_beside_its_english_one(opened, tmp_path):
    drawn.card(tmp_path / "cards", "a/1/one")
    drawn.card(tmp_path / "cards", "a/1/one_cn", summary="一个网络")
    site.write(site.read(tmp_path / "cards"), tmp_path / "site", print)
    page = opened((tmp_path / "site" / "index.html").as_uri())
    assert names(page) == ["one"]
    page.get_by_role("link", name="中文: one").click()
    page.wait_for_url("**/one_cn.report.html")


def test_more_are_shown_when_asked_for_and_the_keys_go_on_there(opened, url):
    page = opened(url)
    assert len(names(page)) == 100
    page.get_by_role("button", name="Show more").click()
    assert len(names(page)) == CARDS + 3
    assert not page.get_by_role("button", name="Show more").is_visible()
    assert page.evaluate("document.activeElement.textContent") == names(page)[100]


@pytest.mark.parametrize("path", ["", PACKAGE, CARD, WIDE])
def test_a_phone_shows_it_without_moving_sideways(path, opened, url):
    page = opened(url + path, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    if not path:
        page.get_by_label("Sort by").select_option("Name")
        assert names(page)[0] == "evil_card"
        assert not page.get_by_role("button", name="Metric").is_visible()


def test_it_is_dark_in_the_dark(opened, url):
    brightness = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
    assert opened(url + PACKAGE, scheme="dark").evaluate(brightness) < 40
    assert opened(url + PACKAGE, scheme="light").evaluate(brightness) == 255


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", ["", PACKAGE, CARD, WIDE, EVIL])
def test_axe_finds_nothing(path, size, scheme, opened, url):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(url + path, size, scheme)
    if not path:
        page.get_by_label("Search").fill("net00")  # ten rows are like a hundred, and sooner looked at
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert len(found.response["passes"]) > 20


def test_keys_skip_to_the_content(opened, url):
    page = opened(url + PACKAGE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'main'")


def test_hostile_cards_run_nothing(opened, url):
    page = opened(url + EVIL)
    assert page.locator("script").count() == 1  # which loads the page again when the card changes
    assert page.locator("img").count() == 0
    assert "<img src=x" in page.locator(".lead").inner_text()


def test_a_page_that_is_open_follows_its_card(opened, tmp_path):
    drawn.card(tmp_path, "a/1/one")
    server = Server(tmp_path, 0, print)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        page = opened(f"{server.url}a/1/one.report.html")
        drawn.card(tmp_path, "a/1/one", text="Edited just now.")
        page.get_by_text("Edited just now.").wait_for(timeout=60_000)
    finally:
        server.shutdown()
        thread.join()


def test_a_static_site_works_from_the_disk(folder, opened, tmp_path):
    site.write(site.read(folder), tmp_path / "site", print)
    page = opened((tmp_path / "site" / "index.html").as_uri())
    page.get_by_label("Search").press_sequentially("tiny")
    page.get_by_role("link", name="tiny_digits").click()
    page.wait_for_selector("#calibration")
    page.get_by_role("link", name="hubpkg.json").first.click()
    page.wait_for_url("**/tiny_digits/hubpkg.json")


def test_a_report_is_one_file_that_needs_no_server(folder, opened):
    path, _ = report.make(folder / "tiny_digits")
    try:
        page = opened(path.as_uri(), ready="#calibration")
        assert page.locator("svg.chart").count() >= 6
        pictures = page.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)")
        assert pictures
        assert all(width > 0 for width in pictures)
    finally:
        path.unlink()
