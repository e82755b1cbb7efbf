"""A sweep's report as one HTML file that needs nothing else: light and dark, on a wide screen and on a phone."""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from ..evaluation.images import read_image
from .blocks import Block, Fold, Heading, Items, Paragraph, Plot, Sheet, Table
from .plots import VARIABLES

#: Larger pictures are made so small, in pixels, and stored with losses.
_SIDE: Final = 192
_STYLE: Final = (
    VARIABLES
    + """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 72rem;
  padding: 1rem clamp(.9rem, 3vw, 2rem) 4rem; background: var(--ground); color: var(--ink); }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: 1rem 0; }
h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.08rem; margin: 2rem 0 .5rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
code { font-size: .9em; background: color-mix(in srgb, var(--ink) 8%, transparent); padding: .1em .3em;
  border-radius: .25em; }
nav { font-size: .92rem; margin: 1.5rem 0; }
nav ul { list-style: none; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; }
a { color: var(--c0); }
.warning { border-left: 4px solid var(--c1); padding: .5rem .9rem;
  background: color-mix(in srgb, var(--c1) 10%, transparent); }
td code { overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: .75rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: .4rem; caption-side: top; }
.wide > table > caption > span { position: sticky; left: 0; display: inline-block; max-width: min(46rem, 88vw); }
th, td { padding: .3rem .65rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap;
  vertical-align: top; }
small { color: var(--faint); font-size: .88em; }
.text { text-align: left; }
td.text { white-space: normal; min-width: 8rem; max-width: 26rem; }
thead th { font-weight: 600; vertical-align: bottom; white-space: normal; min-width: 4.5rem; }
tbody th { position: sticky; left: 0; background: var(--ground); font-weight: 500; white-space: normal;
  min-width: 8.5rem; max-width: 15rem; }
.ahead { color: var(--c2); font-weight: 600; white-space: nowrap; }
.behind { color: var(--c1); font-weight: 600; white-space: nowrap; }
figure { margin: 1rem 0 1.75rem; }
figure svg { width: 100%; max-width: 41rem; height: auto; display: block; }
figcaption { color: var(--faint); font-size: .9rem; max-width: 46rem; }
.sheet td, .sheet th { border: 0; padding: .15rem; text-align: left; }
.sheet img { width: 92px; height: auto; display: block; image-rendering: pixelated; }
.sheet thead th { min-width: 0; font-weight: 400; color: var(--faint); font-size: .8rem; }
.sheet tbody th { min-width: 7rem; max-width: 9rem; font-size: .82rem; padding-right: .6rem; vertical-align: middle; }
details { margin: .6rem 0; border: 1px solid var(--rule); border-radius: .4rem; padding: 0 .9rem; }
summary { cursor: pointer; padding: .6rem 0; font-weight: 500; }
.prompts { font-size: .88rem; color: var(--faint); }
@media (max-width: 40rem) { th, td { padding: .3rem .45rem; } tbody th { min-width: 6rem; max-width: 7.5rem; }
  td.text { min-width: 6.5rem; } thead th { min-width: 4rem; } }
@media print { details { border: 0; } }
"""
)


def page(title: str, blocks: Sequence[Block]) -> str:
    """Write a report.

    Args:
        title: What the report is called.
        blocks: Its parts.

    Returns:
        HTML that loads nothing from elsewhere: styles and plots stand in it, pictures as data. All text is escaped.

    Raises:
        InputError: If a picture can't be read.
    """
    sections = [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<li><a href="#{_anchor(text)}">{escape(text)}</a></li>' for text in sections)
    lead = next((place for place, block in enumerate(blocks) if isinstance(block, Heading)), len(blocks))
    return (
        "\n".join(
            [
                "<!DOCTYPE html>",
                '<html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
                f"<header><h1>{escape(title)}</h1>",
                *_html(blocks[:lead]),
                f'</header><nav aria-label="Sections"><ul>{links}</ul></nav><main>',
                *_html(blocks[lead:]),
                "</main></body></html>",
            ]
        )
        + "\n"
    )


def _html(blocks: Sequence[Block]) -> Iterable[str]:
    for block in blocks:
        match block:
            case Heading():
                yield f'<h{block.level} id="{_anchor(block.text)}">{escape(block.text)}</h{block.level}>'
            case Paragraph():
                yield f"<p{' class=warning' if block.warning else ''}>{_marked(block.text)}</p>"
            case Items():
                yield f"<ul>{''.join(f'<li>{_marked(item)}</li>' for item in block.items)}</ul>"
            case Table():
                yield from _table(block)
            case Plot():
                yield f"<figure>{block.svg}<figcaption>{_marked(block.caption)}</figcaption></figure>"
            case Sheet():
                yield from _sheet(block)
            case Fold():
                yield f"<details><summary>{escape(block.title)}</summary>"
                yield from _html(block.blocks)
                yield "</details>"


def _table(table: Table) -> Iterable[str]:
    heads = "".join(
        f'<th scope="col"{" class=text" if place < table.texts else ""}>{_marked(name)}</th>'
        for place, name in enumerate(table.columns)
    )
    caption = f"<caption><span>{_marked(table.caption)}</span></caption>" if table.caption else ""
    yield f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table>{caption}'
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for row in table.rows:
        cells = "".join(_cell(cell, place < table.texts) for place, cell in enumerate(row[1:], start=1))
        yield f'<tr><th scope="row" class="text">{_marked(row[0])}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _cell(text: str, words: bool) -> str:
    verdict = {"▲": " ahead", "▼": " behind"}.get(text[:1], "")
    names = f"{'text' if words else ''}{verdict}".strip()
    if not words and (told := re.fullmatch(r"(.*\S) \((.+)\)", text)):  # the interval below its mean
        return f"<td>{escape(told[1])}<br><small>{escape(told[2])}</small></td>"
    return f'<td class="{names}">{_marked(text)}</td>' if names else f"<td>{_marked(text)}</td>"


def _sheet(sheet: Sheet) -> Iterable[str]:
    shown = [sheet.columns[place] for place in sheet.shown]
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name, _ in shown)
    yield f'<div class="wide sheet" tabindex="0" role="region" aria-label="{escape(sheet.caption)}"><table>'
    yield f"<caption><span>{escape(sheet.caption)}</span></caption><thead><tr><td></td>{heads}</tr></thead><tbody>"
    for label, paths in sheet.rows:
        told = [escape(f"{label}: {sheet.columns[place][1]}") for place in sheet.shown]
        cells = "".join(
            f'<td><img src="{_data(paths[place])}" alt="{text}"></td>'
            for place, text in zip(sheet.shown, told, strict=True)
        )
        yield f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>'
    yield "</tbody></table></div>"
    told = "; ".join(f"{escape(name)}: “{escape(text)}”" for name, text in shown)
    yield f'<p class="prompts">Prompts: {told}.</p>'


def _data(path: Path) -> str:
    image = read_image(path).convert("RGB")
    buffer = BytesIO()
    if max(image.size) > _SIDE:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=88)
        return f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}"
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def _marked(text: str) -> str:
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    found = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", found)
    return re.sub(r"\*(\S.*?)\*", r"<em>\1</em>", found)


def _anchor(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")
