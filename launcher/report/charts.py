"""Charts: what the plots of a report are, as Vega-Lite, and their drawing as SVG.

Colours are variables and patterns of the page (page.html), so that one drawing serves light and dark screens and paper. What
is bad has a pattern, too: without colour it is seen all the same. No script is needed to see a plot.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.kinds import ShardState
from jobs.storage.durations import Durations, lower_edge, upper_edge
from launcher.report.progression import Progression
from launcher.report.timeline import AttemptBar, ShardBar
from launcher.runs.endings import Ending
from launcher.units import GIB, clock_time, rough_time, short_time

Spec = dict[str, Any]

_WIDTH = 820
# In a bar that is thinner nothing else can be seen.
_THICK = 3.0
# For an axis of so many seconds.
_CLOCKS = ((600, "%H:%M:%S"), (86_400, "%H:%M"), (float("inf"), "%b %d %H:%M"))
_FILLS: Mapping[str, str] = {
    Ending.DONE: "var(--done)",
    Ending.RUNNING: "var(--running)",
    Ending.STOPPED: "url(#stopped)",
    Ending.FAILED: "url(#failed)",
    Ending.LOST: "url(#lost)",
    ShardState.PENDING: "url(#stopped)",
}
_AXIS = {
    "labelColor": "var(--muted)",
    "titleColor": "var(--muted)",
    "titleFontWeight": "normal",
    "domainColor": "var(--line)",
    "tickColor": "var(--line)",
    "gridColor": "var(--grid)",
    "labelFontSize": 11,
    "titleFontSize": 11,
}
_CONFIG = {
    "font": "sans-serif",
    "axis": _AXIS,
    "view": {"stroke": None},
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 11, "title": None, "orient": "top", "symbolStrokeWidth": 0},
    "bar": {"stroke": None},
}


def draw(spec: Spec) -> str:
    """SVG to stand in a page: as wide as that allows, with a description of each mark."""
    import vl_convert

    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": None,
        "config": _CONFIG,
        **spec,
    }
    svg: str = vl_convert.vegalite_to_svg(whole)
    return svg.replace('width="', 'data-width="', 1).replace('height="', 'data-height="', 1)


def _clock(seconds: float) -> float:
    """For an axis that shows the clock of here: a Vega of another place would show that of its own."""
    return (seconds + time.localtime(seconds).tm_gmtoff) * 1000


def _times(begin: float, end: float) -> Spec:
    domain = [_clock(begin), _clock(max(end, begin + 1))]
    zone = time.localtime(begin).tm_zone
    form = next(form for seconds, form in _CLOCKS if end - begin < seconds)
    labels = {"labelOverlap": True, "labelSeparation": 14}
    axis = {"title": f"time ({zone})", "format": form, "grid": True, "tickCount": 8, **labels}
    return {"type": "temporal", "scale": {"type": "utc", "domain": domain, "nice": False}, "axis": axis}


def attempts(bars: Sequence[AttemptBar], begin: float, end: float) -> Spec:
    """A line for each worker; the time in which its processes were not ready is lighter, as far as there is room."""
    lines = 1 + max(bar.line for bar in bars)
    height = min(max(lines * 14, 40), 420)
    thick = max(1.0, height / lines * 0.75)
    rows = [
        {
            "line": bar.line + 0.5,
            "begin": _clock(bar.begin),
            "ready": _clock(bar.ready),
            "end": _clock(max(bar.end, bar.begin + (end - begin) / 800)),
            "ending": bar.ending,
            "bad": bar.ending.is_bad,
            "about": _about(bar),
        }
        for bar in bars
    ]
    line = {
        "field": "line",
        "type": "quantitative",
        "scale": {"domain": [0, lines], "reverse": True, "nice": False},
        "axis": {"title": "workers", "labels": False, "ticks": False, "grid": False},
    }
    fill = _fill("ending", [ending for ending in Ending if any(bar.ending == ending for bar in bars)])
    x = {"field": "begin", **_times(begin, end)}
    about = {"field": "about", "type": "nominal"}
    whole = {"y": line, "x": x, "x2": {"field": "end"}, "fill": fill, "description": about}
    setup = {"y": line, "x": x, "x2": {"field": "ready"}}
    light = {"type": "bar", "height": thick / 2, "fill": "var(--paper)", "opacity": 0.75, "aria": False}
    layers: list[Spec] = [{"mark": {"type": "bar", "height": thick}, "encoding": whole}]
    if thick >= _THICK:
        layers.append({"mark": light, "encoding": setup})
    else:  # above the others, and so that they are seen
        bad = {"mark": {"type": "bar", "height": _THICK}, "encoding": whole}
        layers.append({"transform": [{"filter": "datum.bad"}], **bad})
    return {"width": _WIDTH, "height": height, "data": {"values": rows}, "layer": layers}


def _about(bar: AttemptBar) -> str:
    why = f": {bar.why[:200]}" if bar.why else ""
    took = f"{clock_time(bar.end - bar.begin)}, set-up {rough_time(bar.ready - bar.begin)}"
    return f"{bar.name} on {bar.node}, {bar.ending}{why}; {bar.samples:,} samples in {took}"


def _fill(field: str, states: Sequence[Ending] | Sequence[ShardState]) -> Spec:
    scale = {"domain": list(states), "range": [_FILLS[state] for state in states]}
    return {"field": field, "type": "nominal", "scale": scale, "legend": {"symbolType": "square", "symbolSize": 120}}


def shards(bars: Sequence[ShardBar], count: int, begin: float, end: float) -> Spec:
    """From when the rows of a shard were under way until they were done; neighbours together where there are many.

    Where some of these failed there is a mark on the right.
    """
    shortest, edge = (end - begin) / 800, _clock(end)
    rows = [
        {
            "first": bar.first,
            "stop": bar.stop,
            "begin": _clock(bar.begin),
            "end": _clock(max(bar.end, bar.begin + shortest)),
            "state": bar.state,
            "about": _about_shards(bar),
        }
        for bar in bars
    ]
    several = [row for row, bar in zip(rows, bars, strict=True) if bar.failed and bar.stop - bar.first > 1]
    marks = [{**row, "begin": _clock(end - 8 * shortest), "end": edge, "state": ShardState.FAILED} for row in several]
    axis = {"title": "shards", "tickMinStep": 1, "format": ",d", "grid": False}
    scale = {"domain": [0, count], "reverse": True, "nice": False}
    states = [state for state in ShardState if any(row["state"] == state for row in (*rows, *marks))]
    return {
        "width": _WIDTH,
        "height": min(max(count * 6, 60), 360),
        "data": {"values": [*rows, *marks]},
        "mark": {"type": "rect"},
        "encoding": {
            "y": {"field": "first", "type": "quantitative", "scale": scale, "axis": axis},
            "y2": {"field": "stop"},
            "x": {"field": "begin", **_times(begin, end)},
            "x2": {"field": "end"},
            "fill": _fill("state", states),
            "description": {"field": "about", "type": "nominal"},
        },
    }


def _about_shards(bar: ShardBar) -> str:
    some = f", {bar.failed:,} failed" if bar.failed and bar.stop > bar.first + 1 else ""
    return f"{_named(bar)}, {bar.state}{some}: {clock_time(bar.end - bar.begin)} from the first sample to the last"


def _named(bar: ShardBar) -> str:
    return f"shard {bar.first}" if bar.stop == bar.first + 1 else f"shards {bar.first:,} to {bar.stop - 1:,}"


def over_time(found: Progression) -> Spec:
    """Samples a second, attempts at work and memory, below each other."""
    panels = [("samples a second", found.rates, 150), ("attempts", found.at_work, 70)]
    if any(found.memory):
        panels.append(("GiB, largest", [size / GIB for size in found.memory], 70))
    last = len(panels) - 1
    return {
        "vconcat": [_panel(found, *panel, is_last=number == last) for number, panel in enumerate(panels)],
        "spacing": 12,
    }


def _panel(found: Progression, title: str, values: Sequence[float], height: int, *, is_last: bool) -> Spec:
    pairs = zip(found.times, values, strict=True)
    rows = [{"time": _clock(at), "value": value} for at, value in pairs]
    begin, end = found.times[0], found.times[-1] + found.step
    x: Spec = {"field": "time", **_times(begin, end)}
    if not is_last:
        x["axis"] = {**x["axis"], "title": None, "labels": False}
    y = {"field": "value", "type": "quantitative", "axis": {"title": title, "format": ",.3~r", "tickCount": 4}}
    line = {"color": "var(--done)", "strokeWidth": 1.5}
    mark = {"type": "area", "interpolate": "step-after", "line": line, "fill": "var(--done)", "fillOpacity": 0.18}
    return {
        "width": _WIDTH,
        "height": height,
        "data": {"values": rows},
        "mark": {**mark, "description": f"{title} over time, {max(values):,.3g} at most"},
        "encoding": {"x": x, "y": y},
    }


def rates(named: Mapping[str, float]) -> Spec:
    """Of several runs, beside each other."""
    rows = [
        {"run": name, "rate": rate, "about": f"{name}: {rate:,.4g} samples a second"} for name, rate in named.items()
    ]
    return {
        "width": _WIDTH,
        "height": {"step": 22},
        "data": {"values": rows},
        "mark": {"type": "bar", "fill": "var(--done)"},
        "encoding": {
            "y": {"field": "run", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 240}},
            "x": {"field": "rate", "type": "quantitative", "axis": {"title": "samples a second", "format": ",.3~r"}},
            "description": {"field": "about", "type": "nominal"},
        },
    }


def durations(named: Mapping[str, Durations]) -> Spec:
    """How long samples took, on one logarithmic scale."""
    numbers = [number for one in named.values() for number in one.counts]
    domain = [lower_edge(min(numbers)), upper_edge(max(numbers))]
    return {
        "vconcat": [
            _histogram(name, found, domain, is_last=number == len(named) - 1)
            for number, (name, found) in enumerate(named.items())
        ],
        "spacing": 14,
    }


def _histogram(name: str, found: Durations, domain: Sequence[float], *, is_last: bool) -> Spec:
    rows = [
        {
            "from": lower_edge(number),
            "to": upper_edge(number),
            "samples": samples,
            "about": f"{name}: {samples:,} samples took {short_time(lower_edge(number))} to {short_time(upper_edge(number))}",
        }
        for number, samples in sorted(found.counts.items())
    ]
    axis = {
        "title": "seconds a sample" if is_last else None,
        "labels": is_last,
        "labelExpr": "datum.value < 0.001 ? format(datum.value * 1e6, '~r') + ' µs' : "
        "datum.value < 1 ? format(datum.value * 1000, '~r') + ' ms' : format(datum.value, ',~r') + ' s'",
        "values": _ticks(*domain),
        "grid": True,
    }
    scale = {"type": "log", "domain": list(domain), "nice": False}
    y_axis = {"title": name, "format": ",.2~s", "tickCount": 3}
    return {
        "width": _WIDTH,
        "height": 70,
        "data": {"values": rows},
        "mark": {"type": "rect", "fill": "var(--done)", "stroke": "var(--paper)"},
        "encoding": {
            "x": {"field": "from", "type": "quantitative", "scale": scale, "axis": axis},
            "x2": {"field": "to"},
            "y": {"field": "samples", "type": "quantitative", "axis": y_axis},
            "y2": {"datum": 0},
            "description": {"field": "about", "type": "nominal"},
        },
    }


def _ticks(least: float, most: float) -> list[float]:
    """1, 2, 5, 10, 20 ... of them; fewer where the scale is long."""
    steps = (1, 2, 5) if most / least < 1e4 else (1,)
    numbers = (step * 10.0**power for power in range(-7, 6) for step in steps)
    return [number for number in numbers if least <= number <= most]
