"""Plots: SVG files of lines with markers, the same bytes for the same figures. Made by parts of node.py.

Needs matplotlib (`pip install 'shardrun[benchmark]'`), which is imported only here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Plot:
    """Lines by name; both axes are logarithmic."""

    name: str
    x: str
    y: str
    lines: Mapping[str, Line]

    def write(self, folder: Path) -> Path:
        """Writes ``folder``/NAME.svg."""
        import matplotlib

        matplotlib.use("svg")
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": self.name, "font.size": 9})
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
        for number, (name, line) in enumerate(self.lines.items()):
            xs, ys = zip(*line, strict=True)
            axes.plot(xs, ys, marker="os^Dvx*"[number % 7], markersize=4, label=name)
        axes.set(xscale="log", yscale="log", xlabel=self.x, ylabel=self.y)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        path = folder / f"{self.name}.svg"
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
        return path


def available() -> bool:
    return find_spec("matplotlib") is not None
