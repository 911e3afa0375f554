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

from autolora_bench.record import RunRecord
from tests.report.conftest import PUBLISHED, Study, report

ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"
HOW_TO_GET = "no chromium and chromedriver; Debian, Ubuntu: apt-get install chromium chromium-driver"
OUTSIDE = re.compile(
    r"""(?<!data-)(?:src|href|action)\s*=\s*(?!["']?(?:data:|#))|url\(|@import|https?://(?!www\.w3\.org)"""
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
        pytest.skip(HOW_TO_GET)
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
        "return [...document.querySelector('table.scores').tBodies].map(b => b.rows[0].cells[0].textContent)"
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
    page.script("document.querySelector('[data-method=full] td[data-task=rte] button').focus()")
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
    assert before[0] == "AutoLoRA"
    assert before[-1].startswith("published")
    sort = "document.querySelector('.scores th[data-task=rte] button[data-sort]').click()"
    sorted_by = "return document.querySelector('.scores th[data-task=rte][aria-sort]')?.ariaSort"
    assert page.script(sorted_by) == "descending"
    page.script(sort)
    assert page.script(sorted_by) == "ascending"
    assert rows(page)[0] == "AutoLoRA released estimator"
    assert rows(page)[-1].startswith("published")
    page.script(sort)
    assert rows(page)[:2] == ["Full", "LoRA rank 4"]
    page.script(sort)
    assert rows(page) == before


def test_filters_and_choices_stand_in_the_address(page: Browser) -> None:
    page.script("document.querySelector('input[name=method][value=full]').click()")
    page.script("document.querySelector('input[name=task][value=rte]').click()")
    page.script(
        "const s = document.querySelector('[data-versus]'); s.value = 'AdaLoRA'; s.dispatchEvent(new Event('change'))"
    )
    address = page.script("return location.href")
    assert address.partition("#")[2]
    page.call("url", url="about:blank")
    page.call("url", url=address)
    assert not page.script("return document.querySelector('input[name=method][value=full]').checked")
    assert page.script("return document.querySelector('tbody[data-method=full]').hidden")
    assert not page.script("return document.querySelector('tbody[data-method=lora]').hidden")
    assert page.script("return document.querySelector('.scores th[data-task=rte]').hidden")
    shown = page.script("return document.querySelector('.versus').textContent")
    assert "AdaLoRA against" in shown
    assert "not separated" in shown
    assert errors(page) == []


def test_a_broken_address_breaks_nothing(page: Browser) -> None:
    address = page.script("return location.href.split('#')[0]")
    page.call("url", url="about:blank")
    page.call("url", url=f"{address}#chart0=9.-1.x&with0=nobody&x&task=%3Cb%3E")
    assert errors(page) == []
    assert page.script("return document.querySelectorAll('.scatter').length") == 2
    assert page.script("return [...document.querySelectorAll('input[name=task]')].every(b => !b.checked)")


def test_the_chart_shows_values_names_and_opens_runs(page: Browser) -> None:
    point = "[...document.querySelectorAll('.point')].find(p => p.getAttribute('aria-label').startsWith('AutoLoRA:'))"
    page.script(f"{point}.focus()")
    assert "80.75 ± 0.51" in page.script("return document.querySelector('.tip').textContent")
    page.keys(ENTER)
    assert page.script("return document.getElementById('runs').open")
    assert page.script("return document.querySelectorAll('#runs .run').length") == 6
    page.keys(ESCAPE)
    names = page.script(
        "return [...document.querySelectorAll('.scatter')[0].querySelectorAll('.name')].map(n => n.textContent)"
    )
    assert {"AutoLoRA", "Full"} <= set(names)


def test_a_budget_lights_the_best_within_it_and_its_ties(page: Browser) -> None:
    told = "return document.querySelector('.told').textContent"
    assert page.script(told).startswith("Best: AutoLoRA")
    page.script(
        "const s = document.querySelector('input[type=range]'); s.value = 0; s.dispatchEvent(new Event('input'))"
    )
    within = page.script(told)
    assert within.startswith("Best within the budget: AutoLoRA, released estimator")
    assert page.script("return document.querySelectorAll('.point.out').length") == 5
    page.script(
        "const s = document.querySelector('input[type=range]'); s.value = 60; s.dispatchEvent(new Event('input'))"
    )
    assert page.script(told).startswith("Best within the budget: AutoLoRA 80.75")
    assert "Not separated from it: AdaLoRA, LoRA, rank 4" in page.script(told)
    assert page.script("return document.querySelectorAll('.point.tie').length") > 0


def test_another_cost_is_chosen_by_its_name(page: Browser) -> None:
    page.script(
        "const s = document.querySelectorAll('.controls select')[1]; s.value = 1; s.dispatchEvent(new Event('change'))"
    )
    assert "seconds" in page.script("return document.querySelector('.scatter').getAttribute('aria-label')")
    assert "chart0=" in page.script("return location.hash")


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
    for _ in range(60):
        page.keys(TAB)
        reached.add(page.script(f"const e = document.activeElement; return {name}"))
    assert {"model", "task", "method", "scroll", "sort", "runs"} <= reached


def test_the_chart_and_its_controls_are_reached_by_tab(page: Browser) -> None:
    page.script("document.querySelector('.controls select').focus()")
    reached = set()
    for _ in range(6):
        page.keys(TAB)
        reached.add(
            page.script("const e = document.activeElement; return e.type || e.getAttribute('class') || ''")
        )
    assert "range" in reached
    assert any(name.startswith("point") for name in reached)


@pytest.mark.parametrize("width", [400, 500, 1000, 1600])
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
