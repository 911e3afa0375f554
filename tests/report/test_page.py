"""The page in a headless Chromium, driven as a person would: by keyboard and mouse."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report.build import report

Study = tuple[list[RunRecord], list[PlannedRun]]
PUBLISHED = Path(__file__).parent / "golden" / "published.csv"
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"
OUTSIDE = re.compile(
    r"""(?:src|href|action)\s*=\s*(?!["']?(?:data:|#))|url\(|@import|https?://(?!www\.w3\.org)"""
)


class Browser:
    """The few commands of the WebDriver protocol that these tests need."""

    def __init__(self, address: str, session: str) -> None:
        self.root = f"{address}/session/{session}"

    def call(self, path: str, **body: Any) -> Any:
        return _post(f"{self.root}/{path}", body)

    def open(self, path: Path) -> None:
        self.call("url", url=path.as_uri())

    def script(self, code: str, *values: Any) -> Any:
        return self.call("execute/sync", script=code, args=list(values))

    def keys(self, *keys: str) -> None:
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def size(self, width: int, height: int) -> None:
        self.call("window/rect", width=width, height=height)


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["value"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("no chromium with chromedriver on this machine")
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = next(
            found[1] for line in process.stdout if (found := re.search(r"successfully on port (\d+)", line))
        )
        options = {
            "binary": chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        }
        wish = {
            "capabilities": {
                "alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            }
        }
        address = f"http://127.0.0.1:{port}"
        session = _post(f"{address}/session", wish)["sessionId"]
        yield Browser(address, session)
        urllib.request.urlopen(
            urllib.request.Request(f"{address}/session/{session}", method="DELETE"), timeout=60
        )
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def page(study: Study, browser: Browser, tmp_path: Path) -> Browser:
    path = tmp_path / "report.html"
    path.write_text(
        report(*study, format="html", title="Study", published=[PUBLISHED], figures=False), encoding="utf-8"
    )
    browser.size(1300, 900)
    browser.open(path)
    return browser


def test_the_policy_names_the_very_style_and_script(study: Study) -> None:
    text = report(*study, format="html", figures=False)
    style, script = (
        re.search(r"(?s)<style>(.*?)</style>", text),
        re.search(r"(?s)<script>(.*?)</script>", text),
    )
    assert style
    assert script
    for kind, content in (("style", style[1]), ("script", script[1])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in text


def errors(browser: Browser) -> list[str]:
    return [
        entry["message"] for entry in browser.call("se/log", type="browser") if entry["level"] == "SEVERE"
    ]


def rows(browser: Browser) -> list[str]:
    return browser.script(
        "return [...document.querySelectorAll('table')[0].tBodies].map(b => b.rows[0].cells[0].textContent)"
    )


def test_loads_without_errors_and_without_network(page: Browser) -> None:
    assert errors(page) == []
    assert (
        page.script(
            "return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length"
        )
        == 0
    )


def test_the_file_names_nothing_outside_itself(study: Study) -> None:
    text = report(study[0][-2:], format="html", published=[PUBLISHED])
    without_data = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.S)
    assert not OUTSIDE.search(without_data)


def test_a_cell_opens_its_runs_by_enter_and_closes_by_escape(page: Browser) -> None:
    page.script("document.querySelector('td[data-task=rte] button').focus()")
    page.keys(ENTER)
    assert page.script("return document.getElementById('runs').open")
    text = page.script("return document.getElementById('runs').textContent")
    assert text.count("Command") == 6
    for said in (
        "autolora-bench task=rte method=full model=roberta_base seed=0",
        "method.learning_rate",
        "History",
        "train.epochs",
    ):
        assert said in text
    assert page.script("return document.querySelectorAll('#runs svg.curve').length") == 6
    page.keys(ESCAPE)
    assert not page.script("return document.getElementById('runs').open")
    assert page.script("return document.activeElement.dataset.runs !== undefined")


def test_a_click_opens_a_failed_run_with_its_error(page: Browser) -> None:
    page.script("[...document.querySelectorAll('td button')].find(b => b.textContent === 'failed').click()")
    text = page.script("return document.getElementById('runs').textContent")
    assert "no rows in data.dir" in text
    assert "give data.dir" in text


def test_ranks_of_a_run_are_shown(page: Browser) -> None:
    page.script("document.querySelector('tbody[data-method=autolora] td[data-task=rte] button').click()")
    assert "blockqueryvalue0" in page.script("return document.getElementById('runs').textContent")


def test_sorting_by_a_score_and_back(page: Browser) -> None:
    before = rows(page)
    sort = "document.querySelector('th[data-task=rte] button[data-sort]').click()"
    page.script(sort)
    assert rows(page)[0] == "AutoLoRA"
    assert rows(page)[-1].startswith("published")
    assert (
        page.script("return document.querySelector('th[data-task=rte][aria-sort]').ariaSort") == "descending"
    )
    page.script(sort)
    assert rows(page)[0] == "AutoLoRA, released estimator"
    page.script(sort)
    assert rows(page) == before


def test_filters_hide_tasks_methods_and_models(page: Browser) -> None:
    def visible(selector: str) -> int:
        return page.script(
            "return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent).length", selector
        )

    for kind, value, selector in (
        ("task", "rte", "[data-task=rte]"),
        ("method", "lora", "[data-method=lora]"),
        ("model", "minilm", "[data-model=minilm]"),
    ):
        assert visible(selector) > 0
        page.script("document.querySelector(arguments[0]).click()", f"input[name={kind}][value={value}]")
        assert visible(selector) == 0
    assert visible("[data-method=full]") > 0


def test_a_switch_unchecks_all_of_a_kind_and_checks_them_again(page: Browser) -> None:
    shown = "return [...document.querySelectorAll('tbody[data-method]')].filter(e => e.offsetParent).length"
    everything = page.script(shown)
    page.script("document.querySelector('[data-switch=method]').click()")
    assert page.script(shown) == 0
    page.script("document.querySelector('input[name=method][value=lora]').click()")
    assert 0 < page.script(shown) < everything
    page.script("document.querySelector('[data-switch=method]').click()")
    assert page.script(shown) == everything


def test_everything_is_reached_by_tab(page: Browser) -> None:
    reached = set()
    name = "e.name || e.className || Object.keys(e.dataset)[0] || e.tagName"
    for _ in range(40):
        page.keys(TAB)
        reached.add(page.script(f"const e = document.activeElement; return {name}"))
    assert {"model", "task", "method", "scroll", "sort", "runs"} <= reached


@pytest.mark.parametrize("width", [500, 800])
def test_narrow_windows_scroll_the_table_not_the_page(page: Browser, width: int) -> None:
    page.size(width, 800)
    assert page.script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_hostile_text_stays_text(make: Callable[..., RunRecord], browser: Browser, tmp_path: Path) -> None:
    evil = "</script><script>window.broken=1</script><img src=x onerror=window.broken=2>\"'&\u2028"
    record = make(
        "rte",
        "lora",
        0,
        0.7,
        command=evil,
        error={"type": evil, "message": evil, "mend": evil, "traceback": evil},
    )
    record.method, record.model, record.provenance["commit"] = evil, evil, evil
    record.config["method"][evil] = evil
    path = tmp_path / "evil.html"
    path.write_text(report([record], format="html", title=evil), encoding="utf-8")
    browser.open(path)
    browser.script("document.querySelector('td button').click()")
    time.sleep(0.2)
    assert browser.script(
        "return window.broken === undefined && [...document.images].every(i => i.naturalWidth)"
    )
    assert evil.split("\u2028")[0] in browser.script("return document.getElementById('runs').textContent")
    assert errors(browser) == []
