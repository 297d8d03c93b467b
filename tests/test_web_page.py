"""Reports as HTML pages: whole by themselves, with the command, versions and options, every value escaped."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from memenv.experiments.reporting import markdown
from memenv.experiments.web_page import page

VOID = ("meta", "br", "img")
ODD = '<b>&"odd'
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
USE = """<script>
const rows = () => [...document.querySelectorAll("table")[1].tBodies[0].rows].map(row => row.cells[0].textContent);
const heads = [...document.querySelectorAll("th button")];
const orders = heads.flatMap(head => [0, 1].map(() => (head.click(), rows())));
const figure = document.querySelector("figure"), svg = figure.querySelector("svg");
const box = svg.getBoundingClientRect(), line = figure.querySelector(".series");
const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true, cancelable: true };
(line.querySelector("path") ?? line).dispatchEvent(new PointerEvent("pointermove", at));
const said = figure.querySelector("output").textContent, views = [svg.getAttribute("viewBox")];
svg.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: -400 })), views.push(svg.getAttribute("viewBox"));
svg.dispatchEvent(new MouseEvent("dblclick", at)), views.push(svg.getAttribute("viewBox"));
document.title = JSON.stringify({ orders, said, views });
</script>"""
RECORD = {"versions": {"memenv": "1.2"}, "config": {"device": ODD}}


class Page(HTMLParser):
    """Elements in their order, and the text of those that matter."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert not self.open, "elements that do not end"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open[-2:]:
            self.texts.setdefault(tag, []).append(data)

    def named(self, tag: str) -> Iterator[dict[str, str | None]]:
        """The attributes of its elements."""
        return (attributes for name, attributes in self.elements if name == tag)


def shown(figures: dict[str, Any] | None = None) -> tuple[str, Page]:
    """A page with a table, and with figures."""
    table = markdown(["name", "pulses"], [[ODD, "2.5 [2.0, 3.0]"], ["b", "–"]])
    text = page(f"`memenv test {ODD}`\n\n**Meaning** of it.\n\n{table}\nA note.\n", figures or {}, RECORD)
    return text, Page(text)


def drawn(scale: str = "linear") -> Figure:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2], [1, 3], label=ODD)
    axes.errorbar([1, 2], [2, 2], [0.1, 0.1], label="bars")
    axes.set(title="one", xlabel="across", xscale=scale, xlim=(1, 2))
    return figure


def test_a_page_tells_command_versions_options_tables_and_notes_and_escapes_them() -> None:
    text, found = shown()
    assert found.texts["code"] == [f"memenv test {ODD}"] and found.texts["title"] == [f"memenv test {ODD}"]
    assert found.texts["th"] == ["name", "pulses"] and found.texts["button"] == ["name", "pulses"]
    assert found.texts["td"] == ["device", json.dumps(ODD), ODD, "2.5 [2.0, 3.0]", "b", "–"]
    assert "memenv 1.2" in found.texts["p"] and "A note." in found.texts["p"] and "<b>&" not in text


def test_a_cell_without_text_keeps_its_place() -> None:
    text = page("`command`\n\n| name | pulses |\n| --- | --- |\n|  | 2.5 |\n| b |  |\n", {}, {})
    assert "<tr><td></td><td>2.5</td></tr>" in text and "<tr><td>b</td><td></td></tr>" in text


def test_a_figure_knows_its_series_and_the_numbers_of_its_axes() -> None:
    _, found = shown({"first": drawn(), "second": drawn("log")})
    assert [one["data-series"] for one in found.named("g") if one.get("class") == "series"] == [ODD, "bars"] * 2
    first, second = [json.loads(one["data-axes"] or "") for one in found.named("figure")]
    (axes,) = first
    assert axes["title"] == "one" and axes["x"] == {"limits": [1.0, 2.0], "log": False, "label": "across"}
    assert 0 < axes["box"][0] < axes["box"][2] < 1 and second[0]["x"]["log"]
    ids = [one["id"] for _, one in found.elements if one.get("id")]
    assert len(ids) == len(set(ids))


def test_a_page_loads_nothing_from_elsewhere_and_is_the_same_each_time() -> None:
    text, found = shown({"first": drawn()})
    assert text == shown({"first": drawn()})[0]
    links = [value for _, one in found.elements for key, value in one.items() if key in ("src", "href", "xlink:href")]
    assert all(link and link.startswith(("#", "data:")) for link in links)


def test_maps_have_pictures_inside_and_axes_without_numbers_are_silent() -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    figure.colorbar(left.imshow([[0, 1], [2, 3]]), ax=left)
    right.set(xticks=[], yticks=[])
    _, found = shown({"maps": figure})
    (told,) = (json.loads(one["data-axes"] or "") for one in found.named("figure"))
    assert len(told) == 1 and any((one.get("xlink:href") or "").startswith("data:") for one in found.named("image"))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_tables_sort_figures_say_what_is_pointed_at_and_zoom(tmp_path: Path) -> None:
    table = markdown(["name", "pulses"], [["a", "10.5"], ["c", "–"], ["b", "2.5 [2.0, 3.0]"]])
    text = page(f"`command`\n\n{table}", {"first": drawn()}, RECORD)
    (tmp_path / "page.html").write_text(text.replace("</body>", USE + "</body>"), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    command = [str(BROWSER), *options, (tmp_path / "page.html").as_uri()]
    seen = Page(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    found = json.loads(seen.texts["title"][0])
    assert found["orders"] == [["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"], ["a", "b", "c"]]  # c has no number
    assert found["said"] == f"{ODD} · one · across 1.48 · value 2.01"  # the middle of a figure is not its axes'
    whole, near, again = found["views"]
    assert whole == again and float(near.split()[2]) < 0.5 * float(whole.split()[2])
