"""The page in a browser: everything a visitor does, at the size of a desk and of a hand.

Needs Chromium and its driver (Debian: chromium, chromium-driver). EXPLORER_PICTURES names a folder for pictures of it.
"""

import itertools
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgan.cli import parse
from jaxgan.cli.explore import FLAGS, make
from tests.explorer.serving import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SIZES = {"desktop": (1280, 900), "phone": (400, 850)}

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver")


def explorer(run):
    return make(parse(FLAGS, ["explore", f"--run={run}", "--batch=8"]))


@pytest.fixture(scope="module")
def port():
    with serving(explorer("zoo:fashion-eqgan")) as port:
        yield port


@pytest.fixture(scope="module", params=SIZES)
def browser(request, tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    downloads = tmp_path_factory.mktemp("downloads")
    several = "profile.default_content_setting_values.automatic_downloads"  # not only the first that a script clicks
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads), several: 1})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    width, height = SIZES[request.param]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": request.param == "phone"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.kind, driver.downloads = request.param, downloads
    yield driver
    driver.quit()


class Page:
    """What a visitor does and sees."""

    def __init__(self, browser, port, link="", reloaded=False):
        self.browser = browser
        browser.get("about:blank")
        forget = {"source": "" if reloaded else "sessionStorage.clear()"}
        forget = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", forget)
        browser.get(f"http://127.0.0.1:{port}/{link}")
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", forget)
        self.wait(lambda: self.script("return document.body.dataset.painted") is not None)
        self.settle()

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def wait(self, true, seconds=60):
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.text("status")
            time.sleep(0.05)

    def settle(self):
        """Until the last frame that was asked for is painted."""
        time.sleep(0.05)  # what was done may ask for one after the next repaint
        self.wait(lambda: self.script("const d = document.body.dataset; return d.asked === d.painted"))

    def find(self, name):
        return self.browser.find_element("id", name)

    def text(self, name):
        return self.find(name).text

    def click(self, name):
        self.script("arguments[0].scrollIntoView({block: 'center'})", self.find(name))
        self.find(name).click()

    def tool(self, name):
        self.script(f"document.querySelector('button[data-tool={name}]').click()")

    def fill(self, name, value):
        self.script(
            "const e = document.getElementById(arguments[0]); e.focus(); e.value = arguments[1]; e.blur();"
            "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true}))",
            name,
            value,
        )
        self.settle()

    def picture(self):
        """int [H, W] of what is painted on the stage."""
        found = self.script(
            "const c = document.getElementById('picture');"
            "return [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        )
        return np.array(found[2:]).reshape(found[0], found[1], 4)[..., 0]

    def overlay(self):
        """The numbers of what lies over the picture, 0 where nothing does."""
        return np.array(
            self.script(
                "const c = document.getElementById('overlay');"
                "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
            )
        )

    def drag(self, start, *ends):
        """A pointer over the stage, in shares (x, y) of its sides, in steps as a hand makes them."""
        self.script("document.getElementById('stage').scrollIntoView({block: 'center'})")
        points = [start]
        for end in ends:
            points += [tuple(a + (b - a) * t / 8 for a, b in zip(points[-1], end)) for t in range(1, 9)]
        touch = self.browser.kind == "phone"
        self.script(
            """
            const stage = document.getElementById("stage"), area = stage.getBoundingClientRect();
            stage.setPointerCapture = () => {};
            for (const [i, [x, y]] of arguments[0].entries()) {
              const at = {clientX: area.left + x * area.width, clientY: area.top + y * area.height, bubbles: true,
                          pointerId: 1, pointerType: arguments[1], button: 0, cancelable: true};
              const over = document.elementFromPoint(at.clientX, at.clientY) || stage;
              const target = i ? stage : over;
              target.dispatchEvent(new PointerEvent(i ? "pointermove" : "pointerdown", at));
              if (i === arguments[0].length - 1) stage.dispatchEvent(new PointerEvent("pointerup", at));
            }
            """,
            points,
            "touch" if touch else "mouse",
        )
        self.settle()

    def pointers(self, *events):
        """Pointer events (kind, pointer, (x, y)) over the stage, of fingers or a mouse."""
        self.script("document.getElementById('stage').scrollIntoView({block: 'center'})")
        self.script(
            """
            const stage = document.getElementById("stage"), area = stage.getBoundingClientRect();
            stage.setPointerCapture = () => {};
            for (const [kind, pointerId, [x, y]] of arguments[0]) {
              stage.dispatchEvent(new PointerEvent(kind, {clientX: area.left + x * area.width, button: 0, bubbles: true,
                clientY: area.top + y * area.height, pointerId, pointerType: "touch", cancelable: true}));
            }
            """,
            events,
        )
        self.settle()

    def region(self, x, seed):
        """A broad stroke down the picture shows another seed."""
        self.tool("region")
        self.fill("size", "30")
        self.drag((x, 0.1), (x, 0.9))
        self.fill("region-seed", seed)
        self.click("region-add")
        self.settle()

    def drawn(self):
        """Pixels that have paint."""
        time.sleep(0.2)
        return self.script(
            "const c = document.getElementById('drawing');"
            "const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return data.filter((v, i) => i % 4 == 3 && v).length"
        )

    def reach(self, level, index):
        """The radius that is drawn of a centre's width."""
        path = f"#handles g[data-level='{level}'][data-index='{index}'] .reach"
        return float(self.script("return document.querySelector(arguments[0]).getAttribute('r')", path))

    def handle(self, level, index):
        """Where a centre lies, (x, y) in [0, 1]."""
        return tuple(
            self.script(
                "const [level, index] = arguments;"
                "const g = document.querySelector(`#handles g[data-level='${level}'][data-index='${index}']`);"
                "const m = /translate\\(([-\\d.]+) ([-\\d.]+)\\)/.exec(g.getAttribute('transform'));"
                "return [m[1] / 100, m[2] / 100]",
                level,
                index,
            )
        )

    def keys(self):
        """How many pictures the walk has."""
        return self.script("return document.getElementById('keys').childElementCount")

    def shown(self, name):
        """Keeps a picture of the page where one is wanted."""
        folder = os.environ.get("EXPLORER_PICTURES")
        if folder:
            self.script("window.scrollTo(0, 0)")
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(f"{folder}/{name}-{self.browser.kind}.png")

    def check_quiet(self):
        """No error in the browser's log, nothing wider than the page."""
        severe = [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert not severe
        assert self.script("return document.documentElement.scrollWidth <= innerWidth")


def test_samples_neighbours_and_keys(browser, port):
    page = Page(browser, port)
    first = page.picture()
    assert first.std() > 20
    page.fill("seed", "7")
    second = page.picture()
    assert (second != first).mean() > 0.1
    page.fill("psi", "0.5")
    assert (page.picture() != second).mean() > 0.05
    page.wait(lambda: len(browser.find_elements("css selector", "#neighbours button")) == 8)
    page.shown("sample")
    page.script("document.querySelector('#neighbours button').click()")
    page.settle()
    third = page.picture()
    page.script("document.activeElement.blur()")
    press(page, "z", ctrlKey=True)
    press(page, "z", ctrlKey=True)
    np.testing.assert_array_equal(page.picture(), second)
    press(page, "z", ctrlKey=True, shiftKey=True)
    press(page, "z", ctrlKey=True, shiftKey=True)
    np.testing.assert_array_equal(page.picture(), third)
    page.check_quiet()


def test_a_key_that_is_held_is_one_step(browser, port):
    page = Page(browser, port)
    press(page, "r")
    page.settle()
    steps = page.script("return document.querySelectorAll('#history button').length")
    for _ in range(5):
        press(page, "r", repeat=True)
    page.settle()
    assert page.script("return document.querySelectorAll('#history button').length") == steps


def test_the_keyboard_reaches_what_the_mouse_does(browser, port):
    """Arrows among the tools and the tabs, one stop of the tabulator each; undo wherever no text is typed."""
    from selenium.webdriver.common.keys import Keys

    page = Page(browser, port)
    page.script("document.querySelector('button[data-tool=grab]').focus()")
    chosen = "return document.querySelector('button[data-tool][aria-checked=true]').dataset.tool"
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.script(chosen) == "brush"
    press(page, "b")  # which it is already
    assert page.script(chosen) == "brush"
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)  # from the first to the last
    assert page.script(chosen) == "part"
    assert page.script("return document.querySelectorAll('button[data-tool][tabindex=\"0\"]').length") == 1
    assert page.script("return document.getElementById('open-file').tabIndex") == 0
    page.fill("seed", "5")
    page.fill("seed", "6")
    page.script("document.getElementById('show').focus()")  # a select
    browser.switch_to.active_element.send_keys(Keys.CONTROL, "z")
    page.settle()
    assert page.script("return document.getElementById('seed').value") == "5"
    page.check_quiet()


def test_a_turn_of_the_wheel_is_one_step_even_before_it_rests(browser, port):
    page = Page(browser, port)
    before = page.picture()
    page.script(
        """
        for (let i = 0; i < 3; i++) {
          const turn = new WheelEvent("wheel", {deltaY: -400, bubbles: true, cancelable: true});
          document.querySelector("#handles g").dispatchEvent(turn);
        }
        document.getElementById("undo").click();
        """
    )
    page.settle()
    assert np.array_equal(page.picture(), before)
    time.sleep(0.3)  # when it would have rested
    page.click("redo")
    page.settle()
    assert not np.array_equal(page.picture(), before)
    page.check_quiet()


def test_a_damaged_link_says_so(browser, port):
    page = Page(browser, port, link="#scene=e30x")
    page.wait(lambda: "the link is damaged" in page.text("status"))


def press(page, key, **more):
    page.script(
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true, ...arguments[1]}))",
        key,
        more,
    )
    page.settle()


def test_a_handle_is_dragged_and_the_picture_changes_there(browser, port):
    page = Page(browser, port)
    page.fill("seed", "4")
    before, start = page.picture(), page.handle(0, 0)
    end = (start[0] - 0.15, start[1])
    page.drag(start, end)
    after = page.picture()
    np.testing.assert_allclose(page.handle(0, 0), end, atol=0.02)
    change = np.abs(after - before).astype(float)
    rows, columns = np.mgrid[: change.shape[0], : change.shape[1]] / (change.shape[0] - 1)
    away = np.minimum(*(np.hypot(columns - x, rows - y) for x, y in (start, end)))
    assert change[away < 0.2].mean() > 5 * change[away > 0.5].mean()
    overlays = [page.overlay()]
    for kind in ("heat:0", "heat:2", "attention:b16:fake"):
        page.fill("show", kind)
        page.wait(lambda: (page.overlay() != overlays[-1]).any())
        overlays.append(page.overlay())
        if kind == "heat:0":
            page.shown("drag")
    assert not overlays[0].any()
    assert all((a != b).any() for a, b in itertools.combinations(overlays, 2))
    page.click("undo")
    page.settle()
    np.testing.assert_array_equal(page.picture(), before)
    page.check_quiet()


def test_a_shared_link_and_a_saved_file_give_the_picture_back(browser, port):
    page = Page(browser, port)
    page.fill("seed", "11")
    page.drag(page.handle(0, 0), (0.3, 0.4))
    shared = page.picture()
    page.click("share")
    link = page.script("return location.hash")
    assert link.startswith("#scene=")
    page.click("save")
    page.wait(lambda: (browser.downloads / "work.json").exists())
    scene = json.loads((browser.downloads / "work.json").read_text())["scene"]
    (browser.downloads / "work.json").unlink()
    assert scene["seed"] == 11
    assert len(scene["place"]) == 21
    np.testing.assert_array_equal(Page(browser, port, link).picture(), shared)
    page.check_quiet()


def painted(page, name="drawing"):
    """How many pixels of a canvas have paint."""
    return page.script(
        "const c = document.getElementById(arguments[0]); let n = 0;"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n",
        name,
    )


def test_strokes_are_steps_of_the_history(browser, port):
    page = Page(browser, port)
    page.tool("brush")
    page.drag((0.2, 0.2), (0.8, 0.2))
    one = painted(page)
    page.drag((0.2, 0.7), (0.8, 0.7))
    two = painted(page)
    assert two > one > 0
    page.click("undo")
    page.wait(lambda: painted(page) == one)
    page.click("undo")
    page.wait(lambda: painted(page) == 0)
    page.click("redo")
    page.wait(lambda: painted(page) == one)
    page.shown("paint")
    page.click("clear")
    page.wait(lambda: painted(page) == 0)
    page.click("undo")
    page.wait(lambda: painted(page) == one)
    page.check_quiet()


def test_work_outlives_a_reload_and_comes_back_from_a_file(browser, port, tmp_path):
    page = Page(browser, port)
    page.fill("seed", "21")
    page.script("document.getElementById('key-add').click()")
    page.fill("seed", "22")
    page.script("document.getElementById('key-add').click()")
    page.tool("brush")
    page.drag((0.2, 0.5), (0.8, 0.5))
    before, paint = page.picture(), painted(page)
    page.click("save")
    page.wait(lambda: (browser.downloads / "work.json").exists())
    (browser.downloads / "work.json").rename(tmp_path / "work.json")

    def same():
        keys = page.script("return document.querySelectorAll('#keys > div').length")
        return keys == 2 and painted(page) == paint and np.array_equal(page.picture(), before)

    again = Page(browser, port, reloaded=True)
    again.wait(same)
    empty = Page(browser, port)
    assert painted(empty) == 0
    empty.find("open").send_keys(str(tmp_path / "work.json"))
    empty.wait(same)
    empty.check_quiet()


def test_a_photograph_is_found_and_then_dragged(browser, port, tmp_path):
    photo = np.zeros((60, 80, 3), np.uint8)
    photo[15:50, 25:55] = 200
    Image.fromarray(photo).save(tmp_path / "photo.png")
    page = Page(browser, port)
    page.click("tab-photo")
    page.fill("photo-steps", "60")
    page.find("file").send_keys(str(tmp_path / "photo.png"))
    page.wait(lambda: not page.script("return document.getElementById('job').hidden"))
    page.wait(lambda: page.script("return document.getElementById('job').hidden"), 120)
    page.settle()
    found = page.picture()
    assert found[10:24, 12:20].mean() > found[:4].mean() + 50  # the bright block is there
    page.shown("photo")
    page.drag(page.handle(0, 0), (0.7, 0.7))
    assert (page.picture() != found).any()
    page.check_quiet()


def test_a_scribble_is_made_real(browser, port):
    page = Page(browser, port)
    page.tool("brush")
    page.fill("colour", "#ffffff")
    page.fill("size", "20")
    page.drag((0.35, 0.2), (0.65, 0.2), (0.65, 0.8), (0.35, 0.8), (0.35, 0.2))
    page.fill("paint-steps", "40")
    page.shown("paint")
    page.click("make")
    page.wait(lambda: len(browser.find_elements("css selector", "#candidates button")) == 4, 180)
    page.settle()
    page.shown("candidates")
    first = page.picture()
    page.script("document.querySelectorAll('#candidates button')[3].click()")
    page.settle()
    assert (page.picture() != first).any()
    page.check_quiet()


def test_a_region_moves_by_itself(browser, port):
    page = Page(browser, port)
    page.fill("seed", "0")
    before = page.picture()
    page.tool("brush")
    page.drag((0.3, 0.3), (0.7, 0.7))
    drawn = page.drawn()
    page.region(0.15, seed="4")
    change = np.abs(page.picture() - before)
    assert change[:, :8].mean() > 2 * change[:, 24:].mean()
    assert "region 1: seed 4" in page.text("region-list")
    assert page.drawn() == drawn > 0  # the marks are gone, the drawing is not
    page.click("region-none")
    page.settle()
    np.testing.assert_array_equal(page.picture(), before)
    page.check_quiet()


def test_a_part_is_copied_moved_and_blended(browser, port):
    page = Page(browser, port)
    page.fill("seed", "0")
    page.tool("part")
    page.drag((0.05, 0.05), (0.45, 0.95))
    plain = page.picture()
    page.drag((0.25, 0.5), (0.75, 0.5))
    assert "mark a region first" in page.text("status")  # a vector is the same everywhere
    np.testing.assert_array_equal(page.picture(), plain)
    page.region(0.2, seed="4")
    assert page.text("status") == ""  # what was said of the step before is gone
    before = page.picture()
    page.tool("part")
    page.drag((0.05, 0.05), (0.45, 0.95))
    page.drag((0.25, 0.5), (0.75, 0.5))
    copied = page.picture()  # the blocks of so small a network reach everywhere, so there is no place to look at
    assert (copied != before).any()
    assert "part 1: copied" in page.text("region-list")
    page.fill("part-moved", "1")
    assert (page.picture() != copied).any()
    assert "part 1: moved" in page.text("region-list")
    page.fill("part-moved", "")
    page.fill("part-blend", "0.5")
    assert "part 1: copied, 50 %" in page.text("region-list")
    assert 0 < np.abs(page.picture() - before).mean() < np.abs(copied - before).mean()
    page.shown("part")
    page.fill("part-blend", "0")
    np.testing.assert_array_equal(page.picture(), before)
    page.check_quiet()


def test_two_fingers_change_a_width_and_a_lost_finger_changes_nothing(browser, port):
    page = Page(browser, port)
    page.fill("seed", "3")
    before, reach = page.picture(), page.reach(0, 0)
    centre = page.handle(0, 0)
    page.pointers(
        ("pointerdown", 1, centre),
        ("pointerdown", 2, (centre[0], centre[1] - 0.1)),
        ("pointermove", 2, (centre[0], centre[1] - 0.11)),
        ("pointerup", 2, (centre[0], centre[1] - 0.11)),
        ("pointerup", 1, centre),
    )
    assert page.reach(0, 0) == pytest.approx(1.1 * reach, rel=0.02)
    np.testing.assert_allclose(page.handle(0, 0), centre, atol=0.01)
    assert (page.picture() != before).any()
    page.click("undo")
    page.settle()
    np.testing.assert_array_equal(page.picture(), before)
    page.pointers(("pointerdown", 1, centre), ("pointermove", 1, (0.8, 0.8)), ("pointercancel", 1, (0.8, 0.8)))
    np.testing.assert_array_equal(page.picture(), before)
    np.testing.assert_allclose(page.handle(0, 0), centre, atol=0.01)
    page.tool("brush")
    page.pointers(("pointerdown", 1, (0.2, 0.2)), ("pointermove", 1, (0.8, 0.8)), ("pointercancel", 1, (0.8, 0.8)))
    assert page.drawn() == 0
    page.check_quiet()


def test_a_walk_is_played_and_exported(browser, port):
    page = Page(browser, port)
    page.click("tab-walk")
    for seed in ("1", "2"):
        page.fill("seed", seed)
        page.click("key-add")
    page.fill("at", "0.5")
    between = page.picture()
    page.fill("at", "1")
    assert (page.picture() != between).any()
    page.shown("walk")
    # Keys are steps of the history.
    page.click("key-none")
    assert page.keys() == 0
    page.click("undo")
    assert page.keys() == 2
    page.script("document.activeElement.blur()")
    at = float(page.find("at").get_property("value"))
    page.click("play")
    page.wait(lambda: float(page.find("at").get_property("value")) != at)
    page.click("play")
    page.fill("frames", "4")
    page.script("document.querySelector('[data-export=gif]').click()")
    page.wait(lambda: (browser.downloads / "walk.gif").exists())
    page.wait(lambda: not list(browser.downloads.glob("*.crdownload")))
    with Image.open(browser.downloads / "walk.gif") as film:
        assert film.n_frames == 5
    (browser.downloads / "walk.gif").unlink()
    for kind, name in (("mp4", "walk.mp4"), ("png", "picture.png"), ("npz", "latents.npz")):
        page.script(f"document.querySelector('[data-export={kind}]').click()")
        page.wait((browser.downloads / name).exists)
        page.wait(lambda: not list(browser.downloads.glob("*.crdownload")))
    assert (browser.downloads / "walk.mp4").read_bytes()[4:8] == b"ftyp"
    with Image.open(browser.downloads / "picture.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB"))[..., 0], page.picture())
    with np.load(browser.downloads / "latents.npz") as latents:
        assert latents["ws"].shape[0] == 2  # the keys
    for name in ("walk.mp4", "picture.png", "latents.npz"):
        (browser.downloads / name).unlink()
    page.check_quiet()


def test_every_control_has_a_name(browser, port):
    page = Page(browser, port)
    nameless = page.script(
        "return [...document.querySelectorAll('button, input, select, [role=slider]')].filter((e) =>"
        "!(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length) ||"
        "  e.querySelector('img[alt]:not([alt=\"\"])'))).map((e) => e.outerHTML)"
    )
    assert nameless == []
    page.click("theme")
    page.shown("theme")


@pytest.fixture(scope="module", params=["zoo:fashion-stylegan2", "zoo:fashion-dcgan"])
def other(request):
    """The port of a generator that has no heatmaps, with a mapping network or without."""
    with serving(explorer(request.param)) as port:
        yield port


def test_other_generators_are_dragged_along_directions(browser, other):
    """And sliders move the picture, with the number shown."""
    page = Page(browser, other)
    before = page.picture()
    page.drag((0.3, 0.3), (0.7, 0.4))
    assert (page.picture() != before).any()
    page.click("undo")
    page.settle()
    np.testing.assert_array_equal(page.picture(), before)
    page.click("tab-sliders")
    page.script(
        "const e = document.querySelector('[data-move=brightness]'); e.value = 3;"
        "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true}))"
    )
    page.settle()
    assert page.picture().mean() > before.mean() + 5
    assert page.script("return document.querySelector('[data-move=brightness]').parentElement.innerText").endswith(
        "3.00"
    )
    page.check_quiet()
