"""Draw docs/architecture.svg, the packages and the way of a click: python docs/architecture.py."""

from __future__ import annotations

from pathlib import Path

INK, SOFT, PAPER = "#22303c", "#5b6b78", "#ffffff"
FILL = {"engine": "#e3f2ef", "side": "#eef1f4", "file": "#fff4da"}


def box(x: int, y: int, w: int, h: int, title: str, text: str = "", kind: str = "side") -> str:
    """A labelled box; `text` holds lines separated by '|'."""
    lines = text.split("|") if text else []
    top = y + (22 if lines else h // 2 + 5)
    out = [
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{FILL[kind]}" '
        f'stroke="{SOFT}"/>',
        f'<text x="{x + w / 2}" y="{top}" font-weight="600">{title}</text>',
    ]
    for k, line in enumerate(lines):
        y_line = top + 18 * (k + 1)
        out.append(f'<text x="{x + w / 2}" y="{y_line}" font-size="12" fill="{SOFT}">{line}</text>')
    return "".join(out)


def arrow(x0: int, y0: int, x1: int, y1: int, label: str = "") -> str:
    """An arrow with a label beside its middle."""
    line = (
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="{INK}" '
        'stroke-width="1.4" marker-end="url(#head)"/>'
    )
    if not label:
        return line
    x, y = (x0 + x1) / 2, (y0 + y1) / 2 - 7
    return line + f'<text x="{x}" y="{y}" font-size="12" fill="{SOFT}">{label}</text>'


def picture() -> str:
    """The whole drawing."""
    parts = [
        '<text x="20" y="28" text-anchor="start" font-size="13" '
        f'fill="{SOFT}">from photographs to an engine</text>',
        box(20, 44, 150, 64, "train/", "checkpoint", "side"),
        arrow(170, 76, 236, 76),
        box(240, 44, 150, 64, "export/", "verified step by step", "side"),
        arrow(390, 76, 456, 76),
        box(460, 44, 170, 64, "bundle", "one .onnx with metadata", "file"),
        arrow(545, 108, 545, 166, ""),
        box(690, 44, 170, 64, "benchmarks/", "eval: clicks · bench: time", "side"),
        f'<rect x="20" y="170" width="840" height="240" rx="10" fill="none" stroke="{SOFT}" '
        'stroke-dasharray="5 4"/>',
        '<text x="36" y="194" text-anchor="start" font-size="13" '
        f'fill="{SOFT}">engine/: the way of a click</text>',
        box(40, 214, 120, 84, "server/", "checks, turns,|stores", "engine"),
        arrow(160, 256, 206, 256, "event"),
        box(210, 214, 130, 84, "session/", "the list of events|is the state", "engine"),
        arrow(340, 240, 396, 240),
        box(400, 214, 110, 84, "maps", "clicks to|guidance maps", "engine"),
        arrow(510, 256, 546, 256),
        box(550, 214, 130, 84, "backends/", "network:|probability", "engine"),
        arrow(680, 256, 716, 256),
        box(720, 214, 120, 84, "cut/", "minimum cut:|mask", "engine"),
        f'<path d="M 780 298 V 366 H 275 V 302" fill="none" stroke="{INK}" stroke-width="1.4" '
        'marker-end="url(#head)"/>',
        f'<text x="520" y="359" font-size="12" fill="{SOFT}">mask; what changed goes back as RLE,'
        " with timings by stage</text>",
        f'<path d="M 250 298 V 340 H 100 V 302" fill="none" stroke="{INK}" stroke-width="1.4" '
        'marker-end="url(#head)"/>',
        box(20, 436, 260, 52, "client (Python), pages, tools", "", "side"),
        '<line x1="80" y1="436" x2="80" y2="302" '
        f'stroke="{INK}" stroke-width="1.4" marker-end="url(#head)" '
        'marker-start="url(#tail)"/>',
        f'<text x="92" y="402" text-anchor="start" font-size="12" fill="{SOFT}">gRPC stream</text>',
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 504" width="880" height="504" '
        'font-family="system-ui, sans-serif" font-size="14" text-anchor="middle" '
        f'fill="{INK}"><defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" '
        f'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{INK}"/>'
        '</marker><marker id="tail" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M8 0 L0 4 L8 8 z" fill="{INK}"/></marker></defs>'
        f'<rect width="880" height="504" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture())
