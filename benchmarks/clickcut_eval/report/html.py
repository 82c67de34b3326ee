"""Pieces of the page: tables and rows of pictures as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from clickcut_eval.report.pictures import Picture

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto;
       max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
         vertical-align: top; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
td small { color: #777; white-space: nowrap; display: block; }
td.best { font-weight: 600; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; margin: .8rem 0 1.6rem;
       align-items: flex-start; }
figure { margin: 0; width: 20rem; } figure img { width: 100%; display: block; }
figcaption { font-size: .82rem; color: #444; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
.note { color: #555; max-width: 60rem; }
"""

Cell = tuple[str, str, bool]
"""Text, a smaller line below it, and whether it is the best of its column."""


def table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """A table: first column the rows' names."""
    out = ["<div class='wide'><table><thead><tr>"]
    out += [f"<th>{html.escape(h)}</th>" for h in head]
    out.append("</tr></thead><tbody>")
    for name, cells in rows:
        out.append(f"<tr><td>{html.escape(name)}</td>")
        for text, small, best in cells:
            below = f"<small>{html.escape(small)}</small>" if small else ""
            out.append(f"<td{' class=best' if best else ''}>{html.escape(text)}{below}</td>")
        out.append("</tr>")
    return "".join([*out, "</tbody></table></div>"])


def row(pictures: Sequence[Picture]) -> str:
    """Pictures side by side with their captions."""
    cells = [
        f"<figure><img src='{p.data_uri()}' alt='{html.escape(p.caption, quote=True)}'>"
        f"<figcaption>{html.escape(p.caption)}</figcaption></figure>"
        for p in pictures
    ]
    return f"<div class='row'>{''.join(cells)}</div>"


def note(text: str) -> str:
    """A paragraph of explanation."""
    return f"<p class='note'>{html.escape(text)}</p>"


def section(title: str, *parts: str) -> str:
    """A heading and what belongs to it."""
    return f"<section><h2>{html.escape(title)}</h2>{''.join(parts)}</section>"


def page(title: str, *sections: str) -> str:
    """The whole document; needs nothing beside it."""
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return (
        f"<!doctype html><html lang='en'><head>{head}</head>"
        f"<body><h1>{html.escape(title)}</h1>{''.join(sections)}</body></html>\n"
    )
