"""The page of the leaderboard in a real Chromium: by keyboard alone, in the dark, on a telephone, and without its script."""

import pytest

from roclip.reporting.leaderboard import main
from tests.fixtures.browser import BROWSER, browser
from tests.fixtures.leaderboard import full, row, write

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH, so the page is not opened in a browser")

FOCUS = "document.activeElement"
OPEN = "document.getElementById('dialog').open"
PLACE = f"[{FOCUS}.closest('tr').rowIndex, {FOCUS}.closest('td').cellIndex]"
SHOWN = "[...document.querySelectorAll('.matrix tbody tr')].filter(r => r.offsetParent).map(r => r.cells[0].textContent)"
# the smallest contrast (WCAG 2) of any text that is seen with what lies behind it, and that text
CONTRAST = """(() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = numbers(getComputedStyle(e).backgroundColor); if (c.length && c[3] !== 0) return c; } return [255, 255, 255]; };
  const within = document.querySelector('dialog[open]') || document.body;
  let least = [99, ''];
  for (const e of within.querySelectorAll('*')) {
    const words = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join('');
    if (!words || !e.getClientRects().length || e.closest('svg, option, script, style')) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < least[0]) least = [ratio, words];
  }
  return least; })()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    full(folder)
    main(["--folder", str(folder)])
    return folder / "index.html"


def asks_and_says_nothing(tab, page):
    """The browser asked for nothing but the page, and wrote no error."""
    assert tab.requests == [page.as_uri()]
    assert tab.said == []


def to_a_cell(tab):
    """Press the tab key until a cell has the focus."""
    for _ in range(20):
        tab.press("Tab")
        if tab.value(f"{FOCUS}.matches('a.cell')"):
            return
    raise AssertionError("the tab key finds no cell")


def test_the_keyboard_alone_opens_a_cell_and_comes_back(tab, page):
    tab.open(page)
    to_a_cell(tab)
    assert tab.value(PLACE) == [1, 1]
    tab.press("ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight")
    assert tab.value(PLACE) == [2, 2]
    name = tab.value(f"{FOCUS}.closest('tr').cells[0].textContent")
    tab.press("Enter")
    assert tab.value(OPEN)
    assert tab.value("document.querySelector('dialog h3').textContent").startswith(f"{name} against ")
    assert tab.value("document.querySelector('dialog polyline').getBoundingClientRect().width") > 100
    tab.press("Escape")
    assert not tab.value(OPEN)
    assert tab.value(PLACE) == [2, 2]
    tab.press("Tab")
    assert not tab.value(f"{FOCUS}.matches('a.cell') && {FOCUS}.closest('.matrix') === document.querySelector('.matrix')")
    asks_and_says_nothing(tab, page)


def test_arrows_leave_out_cells_without_an_entry_and_stop_at_the_edge(tab, page):
    tab.open(page)
    to_a_cell(tab)
    tab.press("ArrowLeft", "ArrowUp")
    assert tab.value(PLACE) == [1, 1]
    lines = tab.value("document.querySelectorAll('.matrix')[0].querySelectorAll('tbody tr').length")
    tab.press(*["ArrowRight"] * 9)
    assert tab.value(PLACE) == [1, 5]  # the column `worst` has no details
    tab.press(*["ArrowDown"] * 9)
    row, column = tab.value(PLACE)
    assert column == 5
    assert row <= lines
    names = tab.value(
        "[...document.querySelector('.matrix tbody').rows].map(r => [r.cells[0].textContent, !!r.cells[5].querySelector('a')])"
    )
    assert ["SafeCLIP", False] in names


def test_details_are_closed_by_their_button_and_opened_by_their_address(tab, page):
    tab.open(page, "#entry-1")
    assert tab.value(OPEN)
    tab.press("Enter")  # the button has the focus
    assert not tab.value(OPEN)
    tab.value("document.querySelector('a.cell').click()")
    assert tab.value(OPEN)
    tab.open(page, "#entry-nothing")
    assert not tab.value(OPEN)
    assert tab.said == []


def test_a_heading_sorts_by_its_column_and_what_has_no_number_comes_last(tab, page):
    tab.open(page)
    values = "[...document.querySelector('.matrix tbody').rows].map(r => r.cells[1].querySelector('.cell').dataset.success)"
    tab.value("document.querySelectorAll('.matrix thead button')[0].focus()")
    tab.press("Enter")
    found = tab.value(values)
    assert found[-1] == ""  # not learned
    assert found[:-1] == sorted(found[:-1], key=float)
    assert tab.value("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    tab.press("Enter")
    assert tab.value(values)[:-1] == sorted(found[:-1], key=float, reverse=True)
    assert tab.value(values)[-1] == ""


def choose(tab, name, value):
    """Choose in one of the controls."""
    changed = "e.dispatchEvent(new Event('input', {bubbles: true}))"
    tab.value(f"(e => {{ e.value = '{value}'; {changed}; }})(document.getElementById('{name}'))")


def test_controls_choose_what_is_shown(tab, page):
    tab.open(page)
    choose(tab, "search", "RoC")
    assert tab.value(SHOWN) == ["RoCLIP", "RoCLIP"]  # of two data sets
    choose(tab, "dataset", "1")
    assert tab.value(SHOWN) == ["RoCLIP"]
    assert tab.value("document.getElementById('status').textContent") == "1 defence shown"
    choose(tab, "family", "backdoor")
    seen = "[...document.querySelectorAll('.matrix thead th')].filter(h => h.offsetParent).map(h => h.textContent)"
    assert [word.split("backdoor")[0].strip() for word in tab.value(seen)][1:-1] == ["patch", "sinusoid"]
    to_a_cell(tab)
    assert tab.value(f"{FOCUS}.closest('td').dataset.family") == "backdoor"
    choose(tab, "show", "cost")
    text = "[...document.querySelectorAll('.matrix tbody td')].filter(c => c.offsetParent)[0].innerText"
    assert tab.value(text).split() == ["24.0", "measured"]
    choose(tab, "search", "nothing")
    assert tab.value(SHOWN) == []
    asks_and_says_nothing(tab, page)


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(tab, page, dark):
    tab.open(page, dark=dark)
    assert tab.value("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    tab.value("document.querySelector('details').open = true")
    colours = {tab.value(f"getComputedStyle(document.querySelector('.legend .c{i}')).backgroundColor") for i in range(5)}
    assert len(colours) == 5
    ratio, words = tab.value(CONTRAST)
    assert ratio >= 4.5, words
    tab.value("document.querySelector('a.cell').click()")
    ratio, words = tab.value(CONTRAST)
    assert ratio >= 4.5, words


@pytest.mark.parametrize("script", [True, False])
def test_on_a_telephone_only_boxes_scroll_sideways(tab, page, script):
    tab.open(page, width=400, script=script)
    tab.ask("Emulation.setScriptExecutionDisabled", value=False)
    wide = "[document.documentElement.scrollWidth, document.querySelector('.matrix .box').scrollWidth]"
    body, box = tab.value(wide)
    assert body == 400
    assert box > 400
    if script:
        tab.value("document.querySelector('a.cell').click()")
        left, right = tab.value("(r => [r.left, r.right])(document.getElementById('dialog').getBoundingClientRect())")
        assert 0 <= left < right <= 400
        assert tab.value("(d => d.scrollWidth - d.clientWidth)(document.getElementById('dialog'))") == 0


def test_long_names_stay_in_their_boxes(tab, tmp_path):
    names = dict.fromkeys(("dataset", "attack", "defence", "model", "computed_by", "commit", "config"), "x" * 300)
    write(tmp_path, row(**names))
    main(["--folder", str(tmp_path)])
    tab.open(tmp_path / "index.html", width=400)
    assert tab.value("document.documentElement.scrollWidth") == 400
    asks_and_says_nothing(tab, tmp_path / "index.html")


def test_without_its_script_it_is_a_table_with_links_to_all_details(tab, page):
    tab.open(page, script=False)
    tab.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert tab.value("getComputedStyle(document.getElementById('controls')).display") == "none"
    assert tab.value("getComputedStyle(document.getElementById('details')).display") == "block"
    assert tab.value(
        "[...document.querySelectorAll('a.cell')].every(a => document.getElementById(a.hash.slice(1)).offsetParent)"
    )
    assert "42.0" in tab.value("document.querySelector('.matrix').innerText")
    assert tab.value("document.querySelectorAll('.matrix button').length") == 0


def test_an_empty_leaderboard_opens_without_an_error(tab, tmp_path):
    main(["--folder", str(tmp_path)])
    tab.open(tmp_path / "index.html")
    assert "There are no results yet" in tab.value("document.body.innerText")
    asks_and_says_nothing(tab, tmp_path / "index.html")
