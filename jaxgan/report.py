"""Pictures and the HTML report of a run: arrays and dicts in, PNG bytes and HTML out.

A report is a list of sections. Each `*_section` function is pure and returns an HTML string (empty when it was given
nothing), and `write_page` puts any number of them into one self-contained file: pictures inlined, charts drawn as SVG,
no script and no network. `write_report` is the page that training writes.
"""

import base64
import html
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxgan import charts
from jaxgan.charts import Lines
from jaxgan.errors import UserError

Picture = str | os.PathLike | np.ndarray | tuple[bytes, str]
"""A file, an array as in `encode_png`, or encoded bytes with their MIME type, such as `(data, "image/gif")`."""

_MIME = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}


# Pictures


def to_uint8(images: Any) -> np.ndarray:
    """Pixels for the eye: `trunc(clip(127.5 * x + 128, 0, 255))`, the rule of the official StyleGAN2 code.

    Args:
        images: floats in [-1, 1] of any shape; what lies outside is clipped and NaN becomes 0. uint8 passes unchanged.

    Returns:
        uint8, same shape.

    Raises:
        UserError: if `images` are neither floats nor uint8.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if not (np.issubdtype(images.dtype, np.floating) or images.dtype.name == "bfloat16"):
        raise UserError(f"images of dtype {images.dtype} cannot be shown: pass floats in [-1, 1] or uint8")
    scaled = np.clip(images.astype(np.float32) * 127.5 + 128, 0, 255)
    return np.nan_to_num(scaled, nan=0.0).astype(np.uint8)


def image_grid(images: Any, columns: int | None = None, padding: int = 2, background: int = 255) -> np.ndarray:
    """Lays images out row by row; a grid of one image is that image.

    Args:
        images: [N, H, W, C], N >= 1, C of 1, 3 or 4, as in `to_uint8`.
        columns: images a row. By default the picture is about square, rather wider than tall, with a full last row
            where that is near.
        padding: pixels between neighbours; none round the outside.
        background: value of the padding and of empty cells, 0 to 255.

    Returns:
        uint8 [rows * (H + padding) - padding, columns * (W + padding) - padding, C].
    """
    images = to_uint8(images)
    if images.ndim != 4 or images.shape[0] == 0 or images.shape[3] not in (1, 3, 4):
        raise UserError(f"a grid needs images [N, H, W, C] with N >= 1 and C of 1, 3 or 4, not {images.shape}")
    count, height, width, channels = images.shape
    columns = _default_columns(count, height / width) if columns is None else columns
    if columns < 1 or padding < 0:
        raise UserError(f"a grid needs columns >= 1 and padding >= 0, not columns={columns}, padding={padding}")
    rows = math.ceil(count / columns)
    cells = np.full((rows * columns, height + padding, width + padding, channels), background, np.uint8)
    cells[:count, :height, :width] = images
    grid = cells.reshape(rows, columns, height + padding, width + padding, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + padding), columns * (width + padding), channels)
    return grid[: grid.shape[0] - padding, : grid.shape[1] - padding]


def heat_overlay(images: Any, maps: Any, opacity: float) -> np.ndarray:
    """Maps over pictures, from blue (0) over green to red (1).

    Args:
        images: uint8 [N, H, W, 3].
        maps: [N, H, W] in [0, 1].
        opacity: of the maps, 0 to 1.

    Returns:
        uint8 [N, H, W, 3].
    """
    at = 4.0 * np.asarray(maps, np.float32)[..., None] - np.array([3.0, 2.0, 1.0], np.float32)
    colours = np.clip(1.5 - np.abs(at), 0.0, 1.0) * 255
    return np.round((1 - opacity) * np.asarray(images) + opacity * colours).astype(np.uint8)


def _default_columns(count: int, aspect: float) -> int:
    """Columns that make `count` cells of height/width `aspect` about square, up to half more to fill the last row."""
    square = min(count, math.ceil(math.sqrt(count * aspect)))
    return next((c for c in range(square, square * 3 // 2 + 1) if count % c == 0), square)


def encode_png(image: Any, scale: int = 1) -> bytes:
    """PNG bytes of one image [H, W] or [H, W, C], C of 1, 3 or 4, as in `to_uint8`; each pixel `scale` x `scale`."""
    image = to_uint8(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise UserError(f"a picture needs shape [H, W] or [H, W, C] with C of 1, 3 or 4, not {image.shape}")
    if scale < 1:
        raise UserError(f"scale must be an integer >= 1, not {scale}")
    image = image.repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(path: str | os.PathLike, image: Any, scale: int = 1) -> None:
    """Writes `encode_png(image, scale)` atomically, making the folder if need be."""
    write_atomic(path, encode_png(image, scale))


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file that is at every moment either the old one or the whole new one. Makes the folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by their owner alone, whatever the umask.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# Sections


def facts_section(title: str, facts: Mapping[str, Any]) -> str:
    """Names and values, side by side; for a summary."""
    items = "".join(f"<div><dt>{_escape(k)}</dt><dd>{_escape(format_value(v))}</dd></div>" for k, v in facts.items())
    return _section(title, items and f'<dl class="facts">{items}</dl>')


def table_section(title: str, rows: Sequence[Mapping[str, Any]], caption: str = "") -> str:
    """A table whose columns are the keys of the rows, in order of first appearance.

    Args:
        title: heading.
        rows: one mapping a row; a missing key leaves its cell empty. Values as in `format_value`, so a provenance card
            (a dict) may stand in a cell.
        caption: a line above the table.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        return ""
    css = {column: " class=number" if all(_is_number(row.get(column, 0)) for row in rows) else "" for column in columns}
    head = "".join(f'<th scope="col"{css[column]}>{_escape(column)}</th>' for column in columns)
    cells = ([f"<td{css[c]}>{_escape(format_value(row.get(c, '')))}</td>" for c in columns] for row in rows)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    caption = caption and f"<caption>{_escape(caption)}</caption>"
    # The focusable wrapper lets a keyboard scroll a table wider than the page.
    label = html.escape(title)
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return _section(title, f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">{table}</div>')


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as in `table_section`, for a terminal."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([format_value(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def picture_section(title: str, pictures: Sequence[tuple[str, Picture]]) -> str:
    """Pictures inlined with their captions, which are also their alternative texts.

    Small ones are shown enlarged by a whole factor, pixels kept sharp.

    Raises:
        UserError: if a file is missing or not an image.
    """
    return _section(title, _flow("pictures", [_figure(caption, picture) for caption, picture in pictures]))


def chart_section(
    title: str, curves: Mapping[str, Lines], *, x_label: str = "images seen", log_y: bool | None = None
) -> str:
    """One chart a group: the raw line faint, a light moving average over it, non-finite points left out.

    Args:
        title: heading.
        curves: `{group: {line: (xs, ys)}}`, xs and ys of equal length.
        x_label: what xs count.
        log_y: logarithmic y axis (leaves out y <= 0); None means where all is positive and spans over three decades.

    Raises:
        UserError: if the xs and ys of a line differ in length.
    """
    drawn = [charts.chart(group, lines, x_label, log_y) for group, lines in curves.items()]
    return _section(title, _flow("charts", drawn))


def notes_section(title: str, notes: Sequence[str]) -> str:
    """Paragraphs of plain text."""
    return _section(title, "".join(f"<p>{_escape(note)}</p>" for note in notes))


def write_page(path: str | os.PathLike, title: str, sections: Sequence[str]) -> None:
    """Writes one self-contained HTML file, atomically.

    Args:
        path: the file; its folder is made if need be.
        title: plain text.
        sections: HTML of the `*_section` functions, in order.
    """
    page = _PAGE.format(title=_escape(title), style=_STYLE, body="\n".join(s for s in sections if s))
    write_atomic(path, page.encode())


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    summary: Mapping[str, Any],
    curves: Mapping[str, Lines],
    pictures: Sequence[tuple[str, Picture]],
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    notes: Sequence[str] = (),
    more: Sequence[str] = (),
) -> None:
    """Writes the report of a run: summary, pictures, curves, tables, notes, and then the sections in `more`.

    Args:
        path: the HTML file.
        title: plain text.
        summary: as in `facts_section`.
        curves: as in `chart_section`, over images seen.
        pictures: as in `picture_section`.
        tables: `{title: rows}`, rows as in `table_section`.
        notes: as in `notes_section`.
        more: further sections as HTML.
    """
    sections = [
        facts_section("Summary", summary),
        picture_section("Pictures", pictures),
        chart_section("Curves", curves),
        *(table_section(name, rows) for name, rows in (tables or {}).items()),
        notes_section("Notes", notes),
        *more,
    ]
    write_page(path, title, sections)


def format_value(value: Any) -> str:
    """Text of a value for the eye: floats to five digits, yes and no, lists and mappings flattened to one line."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{float(value):.5g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {format_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value)
    return str(value)


def _escape(text: Any) -> str:
    return html.escape(str(text))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_escape(title)}</h2>{body}</section>" if body else ""


def _flow(kind: str, figures: Sequence[str]) -> str:
    return f'<div class="{kind}">{"".join(figures)}</div>' if figures else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _figure(caption: str, picture: Picture) -> str:
    data, mime = _encoded(picture)
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise UserError(f"picture {caption!r} is not a readable image: pass a PNG, JPEG, GIF or WebP") from error
    enlarge = max(1, 320 // max(width, height))
    sharp = ' class="sharp"' if enlarge > 1 else ""
    text = _escape(caption)
    source = f"data:{_escape(mime)};base64,{base64.b64encode(data).decode()}"
    size = f'width="{width * enlarge}" height="{height * enlarge}"'
    return f'<figure><img{sharp} {size} alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def _encoded(picture: Picture) -> tuple[bytes, str]:
    """Bytes and MIME type of a picture."""
    if isinstance(picture, tuple):
        return picture
    if not isinstance(picture, str | os.PathLike):
        return encode_png(picture), "image/png"
    path = Path(picture)
    if path.suffix.lower() not in _MIME:
        raise UserError(f"picture {path}: the name must end in one of {', '.join(_MIME)}")
    if not path.is_file():
        raise UserError(f"picture {path} does not exist: check the path")
    return path.read_bytes(), _MIME[path.suffix.lower()]


_STYLE = (
    """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b1f24; --soft: #5c6570; --edge: #dfe3e8;
  --c0: #2166c4; --c1: #d4570a; --c2: #0b8062; --c3: #8a46c4; --c4: #c42d6b; --c5: #7b6a00; }
@media (prefers-color-scheme: dark) { :root { --page: #111418; --card: #1a1f25; --ink: #e6e9ed; --soft: #9aa5b1;
  --edge: #2f3740; --c0: #6ba8ff; --c1: #ff9a55; --c2: #3fcaa2; --c3: #c291f5; --c4: #ff7fae; --c5: #d6c23c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 32px 0 10px; }
p { max-width: 72ch; margin: 0 0 8px; overflow-wrap: anywhere; white-space: pre-line; }
figure, .facts div, .scroll { margin: 0; background: var(--card); border: 1px solid var(--edge); border-radius: 8px; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; margin: 0; }
.facts div { min-width: 112px; max-width: 100%; padding: 9px 14px; }
dt, figcaption, caption, small { color: var(--soft); font-size: 13px; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start; }
.pictures figure { max-width: 100%; padding: 10px; }
.pictures figcaption { margin-top: 6px; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; border-radius: 3px; }
.sharp { image-rendering: pixelated; }
"""
    + charts.STYLE
    + """.scroll { overflow-x: auto; max-width: max-content; }
table { border-collapse: collapse; font-size: 14px; }
caption { text-align: left; padding: 8px 12px; }
th, td { padding: 7px 12px; text-align: left; border-top: 1px solid var(--edge); vertical-align: top; }
thead th { border-top: 0; color: var(--soft); font-weight: 600; white-space: nowrap; }
td { max-width: 60ch; } td.number, thead .number { text-align: right; font-variant-numeric: tabular-nums; }
"""
)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
