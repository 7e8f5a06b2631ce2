"""One HTML page with every figure beside its claim and its verdict; it needs no other file."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

COLORS = {
    "reproduced": "#1b7f4b",
    "reproduced in part": "#a36a00",
    "not reproduced": "#b2182b",
    "open": "#5a6472",
}
MARKS = {True: ("holds", "#1b7f4b"), False: ("does not hold", "#b2182b"), None: ("open", "#5a6472")}

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #1c2330 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .3rem } a { color: #2b5ea8 }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }
.badge { color: white; border-radius: 1rem; padding: .05rem .7rem; font-size: .85rem; white-space: nowrap }
.entry { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1.5rem; align-items: start }
.entry img { width: 100% } .paper, .small { color: #5a6472; font-size: .85rem }
ul { padding-left: 1.1rem; margin: .4rem 0 } li { margin: .35rem 0 }
@media (max-width: 800px) { .entry { grid-template-columns: 1fr } }
"""

Entry = tuple[Mapping[str, Any], bytes]


def html(entries: Sequence[Entry]) -> str:
    """The page.

    Args:
        entries: Of every experiment what results.json holds, and its figure as PNG.
    """
    rows = "".join(_row(told) for told, _ in entries)
    sections = "".join(_section(told, figure) for told, figure in entries)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>isoloss reproduce</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head><body>"
        "<h1>What the papers show, run again</h1>"
        "<p>Every verdict is computed from the numbers in results.json. Claims are the paper's; controls are questions "
        "that the paper does not ask. “Open” means that the seeds cannot tell.</p>"
        f"<table><tr><th>experiment</th><th>shows</th><th>verdict</th><th>settings</th></tr>{rows}</table>"
        f"{sections}</body></html>\n"
    )


def _row(told: Mapping[str, Any]) -> str:
    size = "reduced" if told["reduced"] else "the paper's"
    return (
        f"<tr><td><a href='#{escape(told['name'])}'>{escape(told['name'])}</a></td><td>{escape(told['shows'])}</td>"
        f"<td>{_badge(told['verdict'])}</td><td>{size}</td></tr>"
    )


def _section(told: Mapping[str, Any], figure: bytes) -> str:
    image = base64.b64encode(figure).decode()
    parts = [
        f"<h2 id='{escape(told['name'])}'>{escape(told['shows'])} {_badge(told['verdict'])}</h2>",
        f"<p class='paper'>{escape(told['paper'])} · isoloss reproduce {escape(told['name'])}</p>",
        f"<div class='entry'><img alt='{escape(told['shows'])}' src='data:image/png;base64,{image}'><div>",
        f"<p><b>Claim.</b> {escape(told['claim'])}</p>",
        _findings("The claim, in parts", [f for f in told["findings"] if f["kind"] == "paper"]),
        _findings("Controls", [f for f in told["findings"] if f["kind"] != "paper"]),
        _settings(told),
        "</div></div>",
    ]
    return "".join(parts)


def _findings(title: str, findings: Sequence[Mapping[str, Any]]) -> str:
    if not findings:
        return ""
    items = "".join(_finding(f) for f in findings)
    return f"<p><b>{title}.</b></p><ul>{items}</ul>"


def _finding(finding: Mapping[str, Any]) -> str:
    word, shade = MARKS[finding["holds"]]
    return (
        f"<li>{escape(finding['statement'])}: <b style='color:{shade}'>{word}</b>"
        f"<br><span class='small'>{escape(finding['evidence'])}</span></li>"
    )


def _settings(told: Mapping[str, Any]) -> str:
    reduced = told["reduced"]
    changed = "; ".join(f"{name}: {paper} → {here}" for name, (paper, here) in reduced.items())
    said = f"Reduced: {changed}." if changed else "The paper's settings."
    return f"<p class='small'>{escape(said)} Took {told['seconds']:.0f} s.</p>"


def _badge(verdict: str) -> str:
    return f"<span class='badge' style='background:{COLORS.get(verdict, '#5a6472')}'>{escape(verdict)}</span>"
