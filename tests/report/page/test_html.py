from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.report import write
from bench.report.figures import pictures
from bench.report.figures.style import COLOURS
from bench.report.page import html
from bench.report.sections import ledger
from bench.store.cells import Store
from tests.written import DICE, failed, finished, results, tables

EVIL = "<script>document.title='taken'</script>"
PLACE = "mr@{source}-abcdef01"


def disc(centre: int, size: int = 300) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:size, : size // 2]
    return (rows - centre) ** 2 + (columns - size // 4) ** 2 < (size // 6) ** 2


def with_masks(
    root: Path, source: str = "phantom", references: bool = True, cases: int = 4
) -> Store:
    """Write a store with answers, a further row of one method, and the references."""
    rng = np.random.default_rng(0)
    for number, (method, dice) in enumerate(DICE.items()):
        more: dict[str, Any] = {"extras": ["prior"]} if method == "unet" else {}
        finished(root, method, tuple(np.resize(dice, cases)), source=source, **more)
        folder = root / "cpu" / PLACE.format(source=source) / method / "f0-s35"
        for row in ("", *more.get("extras", ())):
            suffix = f"-{row}" if row else ""
            (folder / f"predictions{suffix}").mkdir()
            for case in range(cases):
                answer = disc(130 + 12 * number + 3 * case).astype(np.uint8) * 255
                cv2.imwrite(str(folder / f"predictions{suffix}" / f"c{case}.png"), answer)
    if references:
        folder = root / "cpu" / PLACE.format(source=source) / "references"
        folder.mkdir()
        for case in range(cases):
            image = np.where(disc(140), 170, 60) + rng.normal(0, 12, (300, 150))
            cv2.imwrite(str(folder / f"c{case}-image.png"), image.clip(0, 255).astype(np.uint8))
            cv2.imwrite(str(folder / f"c{case}-reference.png"), disc(140).astype(np.uint8) * 255)
    return Store(root)


def page_of(store: Store) -> str:
    found = tables(store)
    return html.page(found, {table.source: ledger.documents(table) for table in found})


def written_page(store: Store, folder: Path) -> Path:
    """Write a whole report; return its page."""
    write(results(store), folder)
    return folder / "cpu" / "report.html"


def data_of(page: str, source: str = "phantom") -> dict[str, Any]:
    found = re.search(rf'<script type="application/json" id="{source}-data">(.*?)</script>', page)
    data: dict[str, Any] = json.loads(found[1]) if found else {}
    return data


def test_the_page_holds_each_case_under_every_method(tmp_path: Path) -> None:
    data = data_of(page_of(with_masks(tmp_path)))
    assert [method["title"] for method in data["methods"]] == ["FCN", "UNET", "UNET, prior alone"]
    (column,) = data["columns"]
    assert column["cases"] == ["c3", "c0", "c1", "c2"]  # worst mean Dice first
    assert column["scores"][1][0] == [0.6, pytest.approx(0.6 / 1.4, abs=1e-4)]
    for shown in column["pictures"].values():
        assert shown["image"].startswith("data:image/webp;base64,")
        assert all(answer.startswith("data:image/png;base64,") for answer in shown["answers"])
    assert set(column["pictures"]) == {"0", "1", "2", "3"}


def test_the_page_is_the_same_bytes_each_time_and_asks_nobody(tmp_path: Path) -> None:
    store = with_masks(tmp_path)
    page = page_of(store)
    assert page == page_of(store)
    outside = set(re.findall(r"https?://[^\"' ]+", page))
    assert outside == {"http://www.w3.org/2000/svg"}  # a name, which nobody fetches
    assert "default-src 'none'" in page


def test_what_users_name_cannot_do_anything(tmp_path: Path) -> None:
    finished(tmp_path, "unet", DICE["unet"], title=EVIL, deviations=[EVIL])
    path = next(tmp_path.rglob("cases.csv"))
    path.write_text(path.read_text().replace("p0", EVIL))
    page = page_of(Store(tmp_path))
    assert EVIL not in page
    assert EVIL in str(data_of(page)["columns"][0])
    assert page.count("</script>") == 3


def test_real_data_and_phantoms_are_apart(tmp_path: Path) -> None:
    with_masks(tmp_path)
    page = page_of(with_masks(tmp_path, "real"))
    real, phantom = page.index('<section id="real"'), page.index('<section id="phantom"')
    assert real < phantom
    assert "PHANTOM" not in page[real:phantom]
    assert "PHANTOM: simulated anatomy, no patients." in page[phantom:]


def test_failed_cells_notes_and_certificates_are_told(tmp_path: Path) -> None:
    store = with_masks(tmp_path)
    finished(tmp_path, "other", DICE["fcn"], heads={10: "another"})
    failed(tmp_path, "sam", "ValueError: 100 < 200")
    page = page_of(store)
    assert "Failed: MR, sam: ValueError: 100 &lt; 200" in page
    assert '<td data-sort="">failed</td>' in page
    assert '<li class="warn">Certificates DIFFER' in page
    assert '<td data-sort="0.8125" class="best">81.25 ± 15.48</td>' in page


def test_results_from_before_references_were_kept_show_the_answers_alone(tmp_path: Path) -> None:
    (column,) = data_of(page_of(with_masks(tmp_path, references=False)))["columns"]
    assert column["pictures"]["0"]["image"] is None
    assert all(column["pictures"]["0"]["answers"])
    assert column["about"].startswith(
        "These results are from before images and references were kept"
    )


def test_without_masks_the_scores_stand_alone(tmp_path: Path) -> None:
    finished(tmp_path, "unet", DICE["unet"])
    (column,) = data_of(page_of(Store(tmp_path)))["columns"]
    assert column["pictures"] == {}
    assert column["about"].startswith("The store holds no masks")


def test_a_lost_mask_costs_its_tile_alone(tmp_path: Path) -> None:
    store = with_masks(tmp_path)
    next(tmp_path.rglob("fcn/f0-s35/predictions/c3.png")).unlink()
    (column,) = data_of(page_of(store))["columns"]
    assert [answer is None for answer in column["pictures"]["0"]["answers"]] == [True, False, False]


def test_too_many_pictures_are_chosen_evenly_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_masks(tmp_path, cases=40)
    whole = len(page_of(store).encode())
    monkeypatch.setattr(html, "LIMIT", whole - 60_000)
    page = page_of(store)
    (column,) = data_of(page)["columns"]
    shown = sorted(map(int, column["pictures"]))
    assert len(page.encode()) <= html.LIMIT
    assert 5 < len(shown) < 40
    assert max(np.diff([0, *shown, 39])) <= 2 * 40 / len(shown) + 1
    assert column["about"].startswith(f"Pictures of {len(shown)} of 40 cases are in this page")


def test_too_many_dots_are_thinned_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_masks(tmp_path, cases=40)
    monkeypatch.setattr(html, "DOTS", 30)
    (column,) = data_of(page_of(store))["columns"]
    assert len(column["cases"]) == 10
    assert column["about"].startswith("10 of 40 cases are in this page")


@pytest.mark.parametrize("count", [0, 1, 2, 5, 64, 99])
def test_every_beginning_is_spread_evenly(count: int) -> None:
    order = html.evenly(count)
    assert sorted(order) == list(range(count))
    for taken in (4, 8, 16):
        if taken <= count:
            assert max(np.diff(sorted([*order[:taken], count]))) <= 2 * count / taken + 1


BROWSER, DRIVER = (shutil.which("chromium"), shutil.which("chromedriver"))


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Open a real headless browser that logs every request."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not BROWSER or not DRIVER:
        pytest.skip("no chromium with chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path / 'browser'}",
        "window-size=1200,1600",
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def requests(browser: Any) -> set[str]:
    """Return the kinds of addresses that the page, not the browser's first tab, asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {
        each["request"]["url"].partition(":")[0]
        for each in sent
        if each["documentURL"].startswith("file:")
    }


def click_dot(browser: Any, dice: float) -> str:
    """Point at the dot of a Dice in the first scatter, click it, and return what the hover said."""
    from selenium.webdriver import ActionChains

    browser.find_element("css selector", ".scatters summary").click()
    svg = browser.find_element("css selector", ".scatter svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    low, scale = 0.3, svg.size["width"] / 380
    x, y = (44 + 324 * (dice - low) / (1 - low)), 300 - 290 * (dice / (2 - dice) - low) / (1 - low)
    move = ActionChains(browser).move_to_element_with_offset(
        svg, (x - 190) * scale, (y - 170) * scale
    )  # offsets are from the middle
    move.perform()
    tip = str(browser.find_element("css selector", ".scatter .tip").text)
    move.click().perform()
    return tip


def test_a_browser_sorts_hovers_and_shows_a_case_under_every_method(
    browser: Any, tmp_path: Path
) -> None:
    store = with_masks(tmp_path / "results")
    path = written_page(store, tmp_path / "reports")
    browser.get(path.as_uri())

    def find(selector: str) -> Any:
        return browser.find_element("css selector", selector)

    def column(at: int) -> list[str]:
        rows = browser.find_elements("css selector", "table.sortable:first-of-type tbody tr")[:3]
        return [row.find_elements("css selector", "th, td")[at].text for row in rows]

    find("button[aria-label='MR Dice']").click()
    assert column(1) == ["81.25 ± 15.48", "81.25 ± 15.48", "73.75 ± 17.97‡"]
    assert find("th[aria-sort]").get_attribute("aria-sort") == "descending"
    find("button[aria-label='MR Dice']").click()
    assert column(0)[0] == "FCN"
    find("thead button").click()
    assert column(0) == ["FCN", "UNET", "UNET, prior alone"]

    assert click_dot(browser, 0.70) == "FCN, case c0, patient p0: Dice 70.00 %, IoU 53.85 %"
    assert "(PHANTOM), case c0, patient p0" in find(".shown").text
    tiles = [tile.text for tile in browser.find_elements("css selector", ".tile figcaption")]
    assert tiles == [
        "Image",
        "Reference",
        "FCN\nDice 70.00, IoU 53.85",
        "UNET\nDice 80.00, IoU 66.67",
        "UNET, prior alone\nDice 80.00, IoU 66.67",
    ]
    assert find(".tile.picked b").text == "FCN"
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.tile img')].map((image) => image.complete &&"
        " image.naturalWidth)"
    )
    assert drawn == [128] * 9  # the image five times, and its four overlays

    find("button.step[data-by='-1']").click()
    assert "case c3" in find(".shown").text
    svg = find(".scatter svg")
    svg.send_keys("\ue010\ue007")  # End, Enter: the best dot
    assert "case c2" in find(".shown").text
    find(".legend input").send_keys(" ")
    assert find(".scatter svg g").get_attribute("visibility") == "hidden"
    assert {"file"} <= requests(browser) <= {"file", "data"}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_browser_copies_tables_and_opens_a_patient(browser: Any, tmp_path: Path) -> None:
    path = written_page(with_masks(tmp_path / "results"), tmp_path / "reports")
    browser.get(path.as_uri())

    def find(selector: str) -> Any:
        return browser.find_element("css selector", selector)

    find("[data-copy='table1-phantom'][data-form='Markdown']").click()
    assert find(".copies [role=status]").text == "Markdown copied"
    strip = find(".strip svg")
    below = browser.execute_script(
        "const box = arguments[0].getBBox(); return arguments[0].viewBox.baseVal.height - box.y -"
        " box.height",
        strip,
    )
    assert 0 <= below < 25  # the plot ends below its names, whatever their length
    strip.send_keys("\ue011")  # Home: the first method's lowest patient
    assert find(".strip .tip").text == "FCN, patient p1: Dice 70.00 % (2 cases)"
    strip.send_keys("\ue007")  # Enter
    assert "case c3, patient p1" in find(".shown").text
    links = browser.find_elements("css selector", ".contents a")
    for link in links:
        place = link.get_attribute("href").partition("#")[2]
        assert browser.find_elements("css selector", f"[id='{place}']"), place
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_a_browser_never_scrolls_sideways_and_answers_first(
    browser: Any, tmp_path: Path, theme: str
) -> None:
    path = written_page(with_masks(tmp_path / "results"), tmp_path / "reports")
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for width in (500, 1000, 1400):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(path.as_uri())
        shown = browser.execute_script("return document.documentElement.scrollWidth")
        assert shown <= width
        answer = browser.find_element("css selector", ".answer p")
        assert answer.text.startswith("On MR, UNET has the highest mean, 81.2 % Dice")
        assert answer.location["y"] + answer.size["height"] < 900
        plot = browser.find_element("css selector", ".strip svg")
        assert plot.size["width"] <= 480  # three methods do not fill a wide window
        look = "return getComputedStyle(document.querySelector('.scroll')).backgroundAttachment"
        assert browser.execute_script(look) == "local, local, scroll, scroll"  # shadows


def luminance(red: float, green: float, blue: float) -> float:
    """Return the relative luminance of linear light (WCAG 2)."""
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
"""Machado, Oliveira and Fernandes (2009), severity 1, in linear light."""


def test_right_and_wrong_pixels_differ_in_grey_and_for_the_colour_blind() -> None:
    marks = (pictures.HIT, pictures.EXCESS, pictures.MISSED)
    css = Path(html.__file__).with_name("report.css").read_text(encoding="utf-8").lower()
    assert all(mark.lower() in css for mark in marks)
    for seen in (np.eye(3), DEUTERANOPIA):
        bright = sorted(luminance(*(seen @ linear(mark)).clip(0, 1)) for mark in marks)
        for dark, light in pairwise(bright):
            assert (light + 0.05) / (dark + 0.05) > 2


def test_each_method_has_a_colour_of_its_own_that_stands_out_on_white() -> None:
    assert len(set(COLOURS)) == len(COLOURS) >= 16
    for colour in COLOURS:
        assert 1.05 / (luminance(*linear(colour)) + 0.05) >= 3


HALF_TURN = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])
"""CSS' hue-rotate(180deg), of values from 0 to 1 (Filter Effects)."""


def test_the_plots_are_readable_in_the_dark() -> None:
    """There they have no ground of their own, and their light and dark change places."""
    css = Path(html.__file__).with_name("report.css").read_text(encoding="utf-8")
    [dark] = re.findall(
        r"\(prefers-color-scheme: dark\) \{\s+:root \{.*?--page: (#\w{6})", css, re.S
    )
    assert "{ background: none; filter: invert(1) hue-rotate(180deg); }" in css
    ground = luminance(*linear(dark))
    for colour in COLOURS:
        values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        turned = (HALF_TURN @ (1 - values)).clip(0, 1)
        bright = "#" + "".join(f"{round(255 * value):02x}" for value in turned)
        assert (luminance(*linear(bright)) + 0.05) / (ground + 0.05) >= 3


def test_a_browser_takes_no_name_for_a_command(browser: Any, tmp_path: Path) -> None:
    finished(tmp_path / "results", "unet", (0.5,), title=EVIL, deviations=[EVIL])
    table = next((tmp_path / "results").rglob("cases.csv"))
    image = "<img src=x onerror=document.title='taken'>"
    table.write_text(table.read_text().replace("p0", image))
    path = written_page(Store(tmp_path / "results"), tmp_path / "reports")
    browser.get(path.as_uri())
    browser.find_element("css selector", "button.step").click()
    assert image in browser.find_element("css selector", ".shown").text
    assert browser.title == "bench report: cpu"
    assert {"file"} <= requests(browser) <= {"file", "data"}
