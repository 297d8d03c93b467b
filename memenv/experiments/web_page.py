"""A report as one HTML page that needs nothing else: figures that can be hovered and zoomed, tables that sort."""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memenv.experiments.reporting import csv_text, rendered

SERIES = "series: "  # before a label, in the id that matplotlib writes

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 90em; margin: 2em auto; padding: 0 1em; color: #222; }
code { background: #f2f2f2; padding: .1em .3em; overflow-wrap: anywhere; }
figure { margin: 1em 0; border: 1px solid #ddd; } svg { display: block; width: 100%; height: auto; cursor: crosshair; }
figcaption, output { display: block; padding: .3em .8em; color: #555; } output { min-height: 1.5em; color: #222; }
.series:hover path, .series:hover use { stroke-width: 4 !important; stroke-opacity: 1 !important; }
div { overflow-x: auto; } table { border-collapse: collapse; margin: 1em 0; white-space: nowrap; }
th, td { border-bottom: 1px solid #ddd; padding: .2em .7em; text-align: right; }
th:first-child, td:first-child { text-align: left; } tbody tr:hover { background: #f6f6f6; }
th button { font: inherit; font-weight: 600; border: 0; background: none; padding: 0; cursor: pointer; }
"""
SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, body = head.closest("table").tBodies[0], number = head.cellIndex;
  const down = head.ariaSort === "ascending" ? -1 : 1;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.ariaSort = down > 0 ? "ascending" : "descending";
  const text = row => row.cells[number].textContent.trim();
  const value = row => parseFloat(text(row).replace(/^[^\\d.+-]+/, "").replace(/,(?=\\d{3})/g, ""));
  const order = (a, b) => isNaN(value(a)) || isNaN(value(b))
    ? isNaN(value(a)) - isNaN(value(b)) || down * text(a).localeCompare(text(b)) : down * (value(a) - value(b));
  body.append(...[...body.rows].sort(order));
};
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg"), said = figure.querySelector("output");
  const axes = JSON.parse(figure.dataset.axes);
  const whole = svg.getAttribute("viewBox").split(" ").map(Number);
  let view = whole;
  const show = next => { view = next; svg.setAttribute("viewBox", view.join(" ")); };
  const place = event => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const between = (low, high, log, part) =>
    log ? low * (high / low) ** part : low + (high - low) * part;
  svg.addEventListener("wheel", event => {
    event.preventDefault();
    const at = place(event), by = Math.min(Math.exp(event.deltaY / 400), whole[2] / view[2]);
    show([at.x - (at.x - view[0]) * by, at.y - (at.y - view[1]) * by, view[2] * by, view[3] * by]);
  }, { passive: false });
  svg.ondblclick = () => show(whole);
  svg.onpointermove = event => {
    const at = place(event);
    if (event.buttons) {
      const by = view[2] / svg.clientWidth;
      show([view[0] - event.movementX * by, view[1] - event.movementY * by, view[2], view[3]]);
    }
    const name = event.target.closest(".series")?.dataset.series;
    const x = at.x / whole[2], y = 1 - at.y / whole[3];
    const one = axes.find(({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
    const number = (axis, part) => `${axis.label || "value"} ${between(...axis.limits, axis.log, part).toPrecision(3)}`;
    said.textContent = one ? [name, one.title, number(one.x, (x - one.box[0]) / (one.box[2] - one.box[0])),
      number(one.y, (y - one.box[1]) / (one.box[3] - one.box[1]))].filter(Boolean).join(" · ") : name || "";
  };
}
"""


def contents(
    rows: Sequence[Mapping[str, Any]], text: str, caption: str, figure: Any, record: Mapping[str, Any]
) -> tuple[str | bytes, ...]:
    """A result's .csv, .md, .png and .html; arguments as of `page`, with one figure."""
    return csv_text(rows), text, rendered(figure), page(text, {caption: figure}, record)


def page(text: str, figures: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The page of a result.

    Args:
        text: the Markdown that is written beside it: paragraphs and tables, the command first.
        figures: of matplotlib, by what they show.
        record: of the run, whose versions and options are told.
    """
    title = html.escape(re.sub(r"^`(.*)`$", r"\1", text.partition("\n")[0]) or "memenv")
    drawn = "".join(_figure(number, caption, figure) for number, (caption, figure) in enumerate(figures.items()))
    first, _, rest = text.partition("\n\n")
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    options = "".join(
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(json.dumps(value))}</td></tr>"
        for name, value in record.get("config", {}).items()
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>\n'
        f"{''.join(_blocks(first))}<p>{html.escape(versions)}</p>\n"
        f"<details><summary>Options</summary><div><table><tbody>{options}</tbody></table></div></details>\n"
        f"{drawn}{''.join(_blocks(rest))}<script>{SCRIPT}</script></body></html>\n"
    )


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs and tables of Markdown."""
    for block in re.split(r"\n{2,}", text.strip()):
        if block.startswith("| "):
            head, _, *lines = (
                [cell.strip() for cell in line.strip()[1:-1].split(" | ")] for line in block.splitlines()
            )
            names = "".join(f'<th scope="col"><button>{_inline(name)}</button></th>' for name in head)
            rows = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in line)}</tr>\n" for line in lines)
            yield f"<div><table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table></div>\n"
        elif block:
            yield f"<p>{_inline(block)}</p>\n"


def _inline(text: str) -> str:
    """A text with its `code` and **words**, all else escaped."""
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", found)


def _figure(number: int, caption: str, figure: Any) -> str:
    """A figure, as lines that know their series, over axes that know their numbers."""
    from matplotlib import rc_context

    for axes in figure.axes:
        named = [(one, one.get_label()) for one in (*axes.lines, *axes.collections)]
        named += [(one[0], one.get_label()) for one in axes.containers if one and one[0]]
        for artist, label in named:
            if label and not str(label).startswith("_"):
                artist.set_gid(f"{SERIES}{label}")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": str(number)}):
        svg = rendered(figure, "svg", metadata={"Date": None}).decode()
    svg = svg[svg.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{html.escape(caption)}" ', 1)
    svg = re.sub(rf"<g id=([\"']){SERIES}", r'<g class="series" data-series=\1', svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{number}-", svg)  # ids are the page's
    parts = [_axes(axes) for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    told = html.escape(json.dumps([part for part in parts if part]))
    return (
        f'<figure data-axes="{told}">{svg}<output></output><figcaption>{html.escape(caption)}. The wheel zooms, '
        "a drag moves, a double click shows all.</figcaption></figure>\n"
    )


def _axes(axes: Any) -> dict[str, Any] | None:
    """Place (parts of the figure) and scales of axes; None without numbers."""
    scales = axes.get_xscale(), axes.get_yscale()
    if not set(scales) <= {"linear", "log"} or not (len(axes.get_xticks()) or len(axes.get_yticks())):
        return None
    across, up = (
        {"limits": list(map(float, limits)), "log": scale == "log", "label": label}
        for limits, scale, label in zip(
            (axes.get_xlim(), axes.get_ylim()), scales, (axes.get_xlabel(), axes.get_ylabel()), strict=True
        )
    )
    box = [float(end) for end in axes.get_position().extents]
    return {"box": box, "title": axes.get_title(), "x": across, "y": up}
