"""Line charts as SVG, without a script: pure functions of points, in SVG units of about one pixel.

`chart` draws one; `STYLE` is the part of the page's style sheet that it needs, whose colours the page defines.
"""

import html
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgan.errors import UserError

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""The lines of one chart: `{name: (xs, ys)}`."""

MAX_POINTS = 400  # of one line in a chart

_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 402, 10, 212  # the plotting area
_COLOURS = 6  # of the style sheet; further lines repeat them dashed
_Place = Callable[[Any, Any], tuple[Any, Any]]  # data to SVG coordinates
_BANDS = 48  # places along x where hovering shows the values


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """The multiples of 1, 2 or 5 times a power of ten that lie in [low, high]: about `count`, low < high."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.99)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Labels of evenly spaced ticks with just the digits that tell them apart, in k, M or G where they are large."""
    largest = max(map(abs, ticks), default=0.0)
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=largest)
    if largest >= 1e13 or step < 1e-4:
        return [f"{tick:.6g}" for tick in ticks]
    units = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"), (0.0, 1.0, ""))
    unit, suffix = next((unit, suffix) for least, unit, suffix in units if largest >= least)
    digits = max(0, math.ceil(-math.log10(step / unit) - 1e-9))
    return [f"{tick / unit:.{digits}f}{suffix}" if tick else "0" for tick in ticks]


def smooth(ys: np.ndarray, fraction: float = 0.05) -> np.ndarray:
    """Centred moving average over about `fraction` of the points, cut off at both ends; few points stay as they are."""
    half = int(len(ys) * fraction / 2)
    if half == 0:
        return ys
    window = np.ones(2 * half + 1)
    # Not differences of a running sum: after one huge value they would be all rounding error.
    return np.convolve(ys, window, "same") / np.convolve(np.ones(len(ys)), window, "same")


def downsample(ys: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most `limit` points that keep the look of a line: both ends and every bucket's extremes."""
    if len(ys) <= limit:
        return np.arange(len(ys))
    buckets = np.array_split(np.arange(len(ys)), limit // 2 - 1)
    extremes = [bucket[pick(ys[bucket])] for bucket in buckets for pick in (np.argmin, np.argmax)]
    return np.unique([0, *extremes, len(ys) - 1])


def _points(name: str, xs: Sequence[float], ys: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The finite points of a line, by x."""
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise UserError(f"curve {name!r} has xs of shape {x.shape} and ys of shape {y.shape}: they must be equal, [N]")
    keep = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[keep], kind="stable")
    return x[keep][order], y[keep][order]


def _spans_decades(ys: np.ndarray) -> bool:
    return bool(ys.min() > 0 and ys.max() / ys.min() > 1e3)


def chart(group: str, lines: Lines, x_label: str, log_y: bool | None = None) -> str:
    """A `<figure>` with the chart of one group of lines and its key.

    Args:
        group: caption.
        lines: xs and ys of equal length; non-finite points are left out.
        x_label: what xs count.
        log_y: logarithmic y axis (leaves out y <= 0); None means where all is positive and spans over three decades.

    Raises:
        UserError: if the xs and ys of a line differ in length.
    """
    given = {name: _points(name, *line) for name, line in lines.items()}
    every = np.concatenate([y for _, y in given.values()] or [np.empty(0)])
    log = log_y if log_y is not None else every.size > 0 and _spans_decades(every)
    points = {name: (x[y > 0], np.log10(y[y > 0])) if log else (x, y) for name, (x, y) in given.items()}
    missing = sum(len(lines[name][0]) - len(x) for name, (x, _) in points.items())
    left_out = f"{missing} non-finite{' or non-positive' if log else ''} point{'s' * (missing != 1)} left out"
    notes = [*(["log scale"] if log else []), *([left_out] if missing else [])]
    note = f" <small>{'; '.join(notes)}</small>" if notes else ""
    legend = "".join(
        f'<li class="{_line_class(i)}"><svg viewBox="0 0 18 8" aria-hidden="true"><path d="M0 4H18"/></svg>'
        f"{_escape(name)} <b>{_last(y)}</b></li>"
        for i, (name, (_, y)) in enumerate(given.items())
    )
    plot = _plot(group, points, x_label, log) if any(len(x) for x, _ in points.values()) else "<p>no finite points</p>"
    return f"<figure><figcaption>{_escape(group)}{note}</figcaption>{plot}<ul>{legend}</ul></figure>"


def _escape(text: Any) -> str:
    return html.escape(str(text))


def _last(ys: np.ndarray) -> str:
    return f"{ys[-1]:.4g}" if len(ys) else "–"  # noqa: RUF001


def _line_class(index: int) -> str:
    return f"c{index % _COLOURS} d{index // _COLOURS % 3}"


def _plot(group: str, points: Mapping[str, tuple[np.ndarray, np.ndarray]], x_label: str, log: bool) -> str:
    """The SVG of a chart; with `log`, ys are decimal logarithms."""
    x_low, x_high = _limits(np.concatenate([x for x, _ in points.values()]), margin=0.0)
    y_low, y_high = _limits(np.concatenate([y for _, y in points.values()]), margin=0.04)

    def at(x, y):
        """Data to SVG coordinates."""
        u, v = (x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)
        return _LEFT + u * (_RIGHT - _LEFT), _BOTTOM - v * (_BOTTOM - _TOP)

    x_ticks, y_ticks = nice_ticks(x_low, x_high), nice_ticks(y_low, y_high)
    if log:
        decades = [tick for tick in y_ticks if abs(tick - round(tick)) < 1e-9]
        y_ticks = decades if len(decades) > 1 else y_ticks
    y_labels = [f"{10.0**tick:.3g}" for tick in y_ticks] if log else tick_labels(y_ticks)
    parts = [_y_tick(at(x_low, tick)[1], label) for tick, label in zip(y_ticks, y_labels)]
    parts += [_x_tick(at(tick, y_low)[0], label) for tick, label in zip(x_ticks, tick_labels(x_ticks))]
    parts += [f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{_escape(x_label)}</text>']
    parts += [_line(x, y, at, _line_class(i)) for i, (x, y) in enumerate(points.values()) if len(x)]
    parts += _hover_bands(points, x_label, x_low, x_high, at, log)
    says = f"{group}: {', '.join(points)} against {x_label}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_escape(says)}">'
        f"<title>{_escape(says)}</title>{''.join(parts)}</svg>"
    )


def _limits(values: np.ndarray, margin: float) -> tuple[float, float]:
    """Lowest and highest value with a margin (a share of their distance), never equal."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = abs(low) * 0.1 or 1.0
    else:
        pad = (high - low) * margin
    return low - pad, high + pad


def _y_tick(y: float, label: str) -> str:
    grid = f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
    return f'{grid}<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _x_tick(x: float, label: str) -> str:
    mark = f'<path class="axis" d="M{x:.1f} {_BOTTOM}v4"/>'
    return f'{mark}<text x="{x:.1f}" y="{_BOTTOM + 16}" text-anchor="middle">{label}</text>'


def _line(x: np.ndarray, y: np.ndarray, at: _Place, css: str) -> str:
    """The raw line faint and its moving average over it; a short line as it is, with a dot a point."""
    even = smooth(y)
    if even is y:
        dots = "".join("<circle cx='{:.1f}' cy='{:.1f}' r='2.5'/>".format(*at(*point)) for point in zip(x, y))
        return f'<g class="{css}">{_path(x, y, at)}{dots}</g>'
    return f'<g class="{css}">{_path(x, y, at, "raw")}{_path(x, even, at)}</g>'


def _path(x: np.ndarray, y: np.ndarray, at: _Place, css: str = "line") -> str:
    keep = downsample(y)
    across, down = at(x[keep], y[keep])
    return f'<path class="{css}" d="M{" ".join(f"{a:.1f} {b:.1f}" for a, b in zip(across, down))}"/>'


def _hover_bands(points: Mapping, x_label: str, x_low: float, x_high: float, at: _Place, log: bool) -> list[str]:
    """Invisible vertical bands; the one under the pointer shows its points, and their values as a tooltip."""
    edges = np.linspace(x_low, x_high, _BANDS + 1)
    bands = []
    for low, high in itertools.pairwise(edges):
        marks, says = [], []
        for i, (name, (x, y)) in enumerate(points.items()):
            first, past = np.searchsorted(x, low, "left"), np.searchsorted(x, high, "right")
            if first == past:
                continue
            j = (first + past) // 2
            across, down = at(x[j], y[j])
            marks.append(f'<circle class="{_line_class(i)}" cx="{across:.1f}" cy="{down:.1f}" r="3.5"/>')
            says.append(f"{name} {10.0 ** y[j] if log else y[j]:.4g} ({x_label} {x[j]:.10g})")
        if marks:
            left, right = at(low, 0.0)[0], at(high, 0.0)[0]
            area = f'<path d="M{left:.1f} {_TOP}H{right:.1f}V{_BOTTOM}H{left:.1f}z"/>'
            title = _escape("\n".join(says))
            bands.append(f'<g class="band">{area}{"".join(marks)}<title>{title}</title></g>')
    return bands


STYLE = """\
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr)); gap: 14px; }
.charts figure { padding: 12px; min-width: 0; }
.charts figcaption { color: var(--ink); font-size: 14px; font-weight: 600; margin-bottom: 6px; }
.charts small { font-size: 12px; font-weight: 400; margin-left: 6px; }
.charts figure > svg { display: block; width: 100%; height: auto; }
.charts ul { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 8px 0 0; padding: 0; font-size: 13px; }
.charts li { list-style: none; }
.charts li svg { width: 18px; height: 8px; margin-right: 6px; }
.charts b { font-weight: 400; color: var(--soft); font-variant-numeric: tabular-nums; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); }
.d1 path { stroke-dasharray: 6 3; } .d2 path { stroke-dasharray: 2 3; }
svg path { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
svg circle { fill: var(--c); }
svg text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
svg .raw { opacity: 0.28; stroke-width: 1; stroke-dasharray: none; }
svg .grid { stroke: var(--edge); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
.band path { fill: transparent; stroke: none; } .band circle { opacity: 0; }
.band:hover path { fill: var(--soft); opacity: 0.15; } .band:hover circle { opacity: 1; }
"""
