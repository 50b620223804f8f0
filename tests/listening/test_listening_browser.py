"""Listeners at a real browser, from the first screen to the file they send back."""

import json
import shutil

import pytest

from foleyray.listening.table import was_table

playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright to drive a browser")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium to rate as a listener does")

SCORES = {"quince": ("8", "6", "4"), "medlar": ("0", "5", "7")}
"""Keys for quality, fit and diversity; 0 is ten."""


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--autoplay-policy=no-user-gesture-required"])
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium):
    """A fresh profile; fails the test where a page complained, or asked for anything but itself."""
    context = chromium.new_context(viewport={"width": 1000, "height": 800})
    context.set_default_timeout(20_000)
    said, asked = [], []
    context.on("console", lambda message: said.append(message.text))
    context.on("weberror", lambda error: said.append(str(error.error)))
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    assert not said
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked), asked


def begin(context, written, rater="Anna"):
    page = context.new_page()
    page.goto(written.page.as_uri())
    take_seat(page, rater)
    return page


def take_seat(page, rater):
    page.fill("#name", rater)
    page.keyboard.press("Enter")
    page.wait_for_selector("#rate:visible")


def change_seat(page, rater):
    page.click("#finish")
    page.click("#other")
    take_seat(page, rater)


def item(page) -> str:
    return page.get_attribute("#rate", "data-item")


def hear(page):
    """Plays what is on the screen until its scores open."""
    page.keyboard.press("Space")
    page.wait_for_selector("fieldset:visible:enabled")


def wait_for_count(page, given):
    """News between tabs takes its time."""
    page.wait_for_function("text => document.querySelector('#count').textContent === text", arg=f"{given} of 20 scores")


def chosen(page, scale) -> list[str]:
    return page.eval_on_selector_all(f"#{scale} input:checked", "found => found.map(one => one.value)")


def rate_all(page, key):
    """By keyboard alone, each system with scores of its own."""
    system = {name: found.system for s, found in key.sets.items() for name in (s, *found.clips)}
    for _ in range(len(key.scales_of)):
        quality, fit, diversity = SCORES[system[item(page)]]
        hear(page)
        if item(page) in key.sets:
            page.keyboard.press(diversity)
        else:
            page.keyboard.press(quality)
            page.keyboard.press("ArrowDown")
            page.keyboard.press(fit)
        page.keyboard.press("n")
    page.wait_for_selector("#done:visible")


def save(page, button, folder):
    with page.expect_download() as waiting:
        page.click(button)
    file = folder / waiting.value.suggested_filename
    waiting.value.save_as(file)
    assert file.name in page.inner_text("#saved")
    return file


def test_from_the_first_screen_to_was(visitor, written, key, tmp_path):
    page = begin(visitor, written)
    rate_all(page, key)
    assert page.inner_text("#verdict") == "All scores are given" and page.is_hidden("#missing")
    files = [save(page, "#json", tmp_path), save(page, "#csv", tmp_path)]
    assert [file.name for file in files] == ["ratings-anna.json", "ratings-anna.csv"]
    tables = [was_table([file], key=written.key, seed=0) for file in files]
    assert tables[0] == tables[1]
    quince, medlar = (tables[0].systems[name] for name in ("quince", "medlar"))
    assert (quince.quality, quince.fit, quince.diversity, quince.was) == (8, 6, 4, pytest.approx(6.4))
    assert (medlar.quality, medlar.fit, medlar.diversity, medlar.was) == (10, 5, 7, pytest.approx(7.4))
    assert tables[0].raters == ("Anna",) and tables[0].num_missing == 0


def test_a_second_listener_has_another_order_and_a_file_that_counts_what_is_missing(visitor, written, key, tmp_path):
    page = begin(visitor, written)
    first = save_order(page)
    change_seat(page, "Ben 2")
    assert save_order(page) != first and page.inner_text("#rater") == "Ben 2"
    hear(page)
    page.keyboard.press("7")
    page.click("#finish")
    assert page.inner_text("#verdict") == "19 of 20 scores are missing"
    assert page.inner_text("#json") == "Download JSON, 19 missing" and page.inner_text("#csv") == "Download CSV, 19 missing"
    files = [save(page, "#json", tmp_path), save(page, "#csv", tmp_path)]
    assert [file.name for file in files] == ["ratings-ben-2-19-missing.json", "ratings-ben-2-19-missing.csv"]
    assert json.loads(files[0].read_text())["missing"] == 19
    tables = [was_table([file], key=written.key, seed=0) for file in files]
    assert tables[0] == tables[1] and tables[0].warnings[0] == "rater 'Ben 2' left out 19 of 20 scores"
    page.click("#missing")
    assert page.is_visible("#rate") and page.inner_text("#where").startswith("SET 1 OF 4")


def save_order(page) -> list[str]:
    """Walks to the last screen and back again."""
    order = [item(page)]
    while page.inner_text("#next") != "Finish":
        page.keyboard.press("ArrowRight")
        order.append(item(page))
    for _ in order[1:]:
        page.keyboard.press("p")
    assert item(page) == order[0] and len(set(order)) == len(order)
    return order


def test_scores_open_once_a_sound_is_heard_and_space_never_scores(visitor, written):
    page = begin(visitor, written)
    assert page.is_visible("#quality:disabled") and page.get_attribute("#play", "aria-label") == "Play the sound"
    page.keyboard.press("7")
    assert chosen(page, "quality") == [] and page.inner_text("#count") == "0 of 20 scores"
    page.keyboard.press("Space")
    page.wait_for_selector("#quality:enabled")
    page.wait_for_selector("#play:not(.playing)")
    assert float(page.eval_on_selector("#ring", "ring => ring.style.strokeDashoffset")) < 50
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.name") == "fit"
    page.keyboard.press("Space")
    page.wait_for_selector("#play.playing")
    assert chosen(page, "fit") == []
    page.keyboard.press("0")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("3")
    page.keyboard.press("4")
    assert (chosen(page, "quality"), chosen(page, "fit")) == (["4"], ["10"])
    assert page.inner_text("#count") == "2 of 20 scores"


def test_a_reload_keeps_scores_place_and_name(visitor, written):
    page = begin(visitor, written)
    hear(page)
    page.keyboard.press("9")
    page.keyboard.press("n")
    hear(page)
    page.click('#fit [value="2"]')
    at = item(page)
    page.reload()
    assert item(page) == at and page.inner_text("#rater") == "Anna" and chosen(page, "fit") == ["2"]
    assert page.is_visible("#fit:enabled")
    page.keyboard.press("ArrowLeft")
    assert chosen(page, "quality") == ["9"] and page.inner_text("#count") == "2 of 20 scores"


@pytest.mark.slow
def test_two_tabs_do_not_overwrite_each_other(visitor, written):
    one, two = begin(visitor, written), visitor.new_page()
    two.goto(written.page.as_uri())
    assert two.inner_text("#rater") == "Anna"
    change_seat(two, "Ben")
    for page, value in ((one, "3"), (two, "8"), (one, "4")):
        page.bring_to_front()
        hear(page)
        page.keyboard.press(value)
        page.keyboard.press("n")
    for page in (one, two):
        page.reload()
        for rater, given in (("Anna", 2), ("Ben", 1)):
            change_seat(page, rater)
            wait_for_count(page, given)


def test_one_listener_in_two_tabs_keeps_what_both_were_told(visitor, written):
    one, two = begin(visitor, written), visitor.new_page()
    two.goto(written.page.as_uri())
    one.bring_to_front()
    hear(one)
    one.keyboard.press("3")
    two.wait_for_selector("#quality:enabled")
    two.click('#fit [value="8"]')
    for page in (one, two):
        wait_for_count(page, 2)
    for page in (one, two):
        page.bring_to_front()
        page.reload()
        wait_for_count(page, 2)
        assert (chosen(page, "quality"), chosen(page, "fit")) == (["3"], ["8"])


def test_what_another_tab_wrote_over_is_written_again(visitor, written):
    """The other tab scored before it had heard of the score here."""
    page = begin(visitor, written)
    hear(page)
    heard = page.evaluate("Object.entries(localStorage).find(([key]) => key.endsWith('/Anna'))")
    page.keyboard.press("7")
    page.evaluate(
        """([key, newValue]) => {
            localStorage.setItem(key, newValue);
            dispatchEvent(new StorageEvent('storage', { key, newValue }));
        }""",
        heard,
    )
    page.reload()
    assert chosen(page, "quality") == ["7"]


def test_news_of_another_tab_that_comes_late_takes_nothing_away(visitor, written):
    page = begin(visitor, written)
    late = page.evaluate("Object.entries(localStorage).find(([key]) => key.endsWith('/Anna'))")
    hear(page)
    page.keyboard.press("7")
    page.evaluate("([key, newValue]) => dispatchEvent(new StorageEvent('storage', { key, newValue }))", late)
    assert page.is_visible("#quality:enabled") and chosen(page, "quality") == ["7"]


def to_next_set(page, key):
    page.keyboard.press("n")
    while item(page) not in key.sets:
        page.keyboard.press("n")


def test_a_set_plays_through_and_then_takes_its_score(visitor, written, key):
    page = begin(visitor, written)
    to_next_set(page, key)
    assert "2 of the 2 sounds not heard yet" in page.inner_text("#hint") and page.is_visible("#diversity:disabled")
    page.keyboard.press("Space")
    page.wait_for_selector("#diversity:enabled")
    page.keyboard.press("5")
    assert chosen(page, "diversity") == ["5"] and page.is_hidden("#quality")


def test_a_sound_of_a_set_plays_by_itself(visitor, written, key):
    page = begin(visitor, written)
    to_next_set(page, key)
    page.click("#clips button >> nth=1")
    page.wait_for_selector("#clips li:nth-child(2).heard")
    page.wait_for_selector("#play:not(.playing)")
    assert "1 of the 2 sounds not heard yet" in page.inner_text("#hint") and page.is_visible("#diversity:disabled")


def test_says_so_where_the_browser_keeps_nothing(visitor, written):
    """In a frame without an origin of its own, storage is refused; rating still works."""
    outer = written.page.parent / "outer.html"
    outer.write_text(
        f'<iframe sandbox="allow-scripts allow-forms" width="900" height="700" src="{written.page.name}"></iframe>'
    )
    page = visitor.new_page()
    page.goto(outer.as_uri())
    frame = page.frames[1]
    assert "does not let the page keep your ratings" in frame.inner_text("#refused")
    frame.fill("#name", "Anna")
    frame.click("#begin button")
    frame.wait_for_selector("#rate:visible")
    frame.click("#play")
    frame.wait_for_selector("#quality:enabled")
    frame.click('#quality [value="6"]')
    assert frame.inner_text("#count") == "1 of 20 scores" and frame.is_visible("#refused")


def test_names_that_would_break_a_file_are_refused(visitor, written):
    page = visitor.new_page()
    page.goto(written.page.as_uri())
    for name in ("", "=1+1", "a,b", 'a"b', "<b>"):
        page.fill("#name", name)
        page.keyboard.press("Enter")
        assert page.is_visible("#welcome"), name
    take_seat(page, "constructor")
    assert page.inner_text("#rater") == "constructor" and page.inner_text("#count") == "0 of 20 scores"


@pytest.mark.parametrize("width", [320, 375, 1280])
def test_nothing_is_wider_than_the_screen_and_every_control_has_a_name(visitor, written, width):
    page = visitor.new_page()
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(written.page.as_uri())
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    take_seat(page, "Anna")
    assert page.evaluate(fits)
    hear(page)
    for scale in ("Audio quality", "Category fit"):
        group = page.get_by_role("group", name=scale, exact=True)
        assert group.get_by_role("radio", name="10", exact=True).is_visible()
    steps = page.eval_on_selector_all("#quality span", "found => found.map(one => one.getBoundingClientRect().width)")
    assert min(steps) >= 24
    unnamed = "all => all.filter(one => !one.textContent.trim() && !one.getAttribute('aria-label')).length"
    assert page.eval_on_selector_all("button:visible", unnamed) == 0
