"""The figures of a report, drawn once: as SVG that follows the page's colours, and as small PNG."""

import io
import re
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from worldmodel.compare.analysis import Tested, band, profile
from worldmodel.compare.statistics import Interval, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"  # becomes the colour of the page's text
COLOURS = ("#0a7bbd", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6fd1", "#a6761d")  # after Okabe, Ito
OTHERS = "#7f7f7f"
STYLES = ("-", "--", ":", "-.")
LABEL = 0.052  # height of a label of a mark, as a share of the axes
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


class Palette:
    """A colour and a line style for each of some arms; grey for all others."""

    def __init__(self, arms: Sequence[str]) -> None:
        self._places = {arm: place for place, arm in enumerate(arms)}

    def colour(self, arm: str) -> str:
        """The colour of an arm."""
        return COLOURS[self._places[arm] % len(COLOURS)] if arm in self._places else OTHERS

    def style(self, arm: str) -> str:
        """The line style, which tells arms of the same colour apart."""
        return STYLES[self._places[arm] // len(COLOURS) % len(STYLES)]


def curves_figure(
    curves: Mapping[str, tuple[list[int], list[list[float]]]],
    groups: Sequence[Sequence[str]],
    threshold: float | None,
    unit: str,
    marks: Sequence[tuple[str, int, float]] = (),
) -> "Figure":
    """Learning curves: interquartile mean of the evaluations [R, T] of each arm, with pointwise 95 % bands, by unit.

    groups: the arms of each panel. marks: published returns, each with a label and its steps.
    """
    bands = {arm: band(np.array(rows, np.float64)) for arm, (steps, rows) in curves.items() if rows and steps}

    def draw(axes: "Axes", palette: Palette, arm: str) -> None:
        steps, (middle, low, high) = curves[arm][0], bands[arm]
        marker = "o" if len(steps) < 3 else ""
        axes.plot(steps, middle, palette.style(arm), color=palette.colour(arm), label=arm, marker=marker)
        axes.fill_between(steps, low, high, color=palette.colour(arm), alpha=0.2, linewidth=0)

    figure = _panels(groups, bands, draw, unit, "return of the evaluation")
    for axes in figure.axes:
        if threshold is not None:
            axes.axhline(threshold, color=INK, linewidth=0.7, linestyle=":")
        if marks:
            last = max(curves[arm][0][-1] for arm in bands)
            _mark(axes, [(label, min(steps, last), value) for label, steps, value in marks], len(groups) == 1)
    return figure


def _mark(axes: "Axes", marks: Sequence[tuple[str, int, float]], labelled: bool) -> None:
    """Draw points with their labels in a column on the right, moved apart so that they do not overlap."""
    marks = sorted(marks, key=lambda mark: mark[2])
    axes.plot([mark[1] for mark in marks], [mark[2] for mark in marks], "x", color=OTHERS, markersize=5, clip_on=False)
    if not labelled:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # labels are placed in shares of it
    places: list[float] = [(value - low) / (high - low) for _, _, value in marks]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + LABEL)
    places = [min(place, 1.0 - i * LABEL) for i, place in zip(reversed(range(len(places))), places, strict=True)]
    for (label, steps, value), place in zip(marks, places, strict=True):
        axes.annotate(
            label,
            (steps, value),
            (1.04, place),
            textcoords="axes fraction",
            fontsize=6.5,
            color=INK,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": OTHERS, "linewidth": 0.4},
        )


def profiles_figure(scores: Mapping[str, Scores], groups: Sequence[Sequence[str]]) -> "Figure":
    """Performance profiles: the share of runs above each score, with pointwise 95 % bands.

    groups: the arms of each panel.
    """
    values = np.concatenate([np.asarray(task, np.float64) for runs in scores.values() for task in runs.values()])
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    margin = 0.02 * (high - low)
    thresholds = np.asarray(np.linspace(low - margin, high + margin, 101), np.float64)
    profiles = {arm: profile(runs, thresholds) for arm, runs in scores.items()}

    def draw(axes: "Axes", palette: Palette, arm: str) -> None:
        middle, below, above = profiles[arm]
        axes.step(thresholds, middle, palette.style(arm), where="post", color=palette.colour(arm), label=arm)
        axes.fill_between(thresholds, below, above, step="post", color=palette.colour(arm), alpha=0.15, linewidth=0)

    return _panels(groups, profiles, draw, "score", "share of runs above it")


def estimates_figure(estimates: Mapping[str, Interval], palette: Palette) -> "Figure":
    """The interquartile mean of each arm with its 95 % interval."""
    return _intervals({arm: (found, palette.colour(arm)) for arm, found in estimates.items()}, "score", None)


def improvements_figure(tests: Sequence[Tested], palette: Palette) -> "Figure":
    """The probability that a run of an arm scores more than one of the other, with its 95 % interval."""
    rows = {f"{test.arm} > {test.other}": (test.improvement, palette.colour(test.arm)) for test in tests}
    return _intervals(rows, "probability of improvement", 0.5)


def lines_figure(
    lines: Mapping[str, Mapping[float, Interval]], references: Mapping[str, float], x: str, y: str
) -> "Figure":
    """Lines with their 95 % intervals over numbers from 0, on a logarithmic scale beside 0, and references across."""
    figure, ((axes,),) = _axes(1, 1, height=3.2)
    palette = Palette([*lines])
    for name, points in lines.items():
        places, found = sorted(points), [points[place] for place in sorted(points)]
        axes.plot(places, [each.value for each in found], "o-", color=palette.colour(name), label=name)
        low, high = [each.low for each in found], [each.high for each in found]
        axes.fill_between(places, low, high, color=palette.colour(name), alpha=0.2, linewidth=0)
    for style, (name, value) in zip(STYLES * len(references), references.items(), strict=False):
        axes.axhline(value, color=INK, linewidth=0.9, linestyle=style, label=name)
    least = min((place for points in lines.values() for place in points if place > 0), default=0.0)
    if least:
        axes.set_xscale("symlog", linthresh=least)
        axes.set_xlim(left=-0.2 * least)
        axes.set_xticks(sorted({place for points in lines.values() for place in points}))
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _intervals(rows: Mapping[str, tuple[Interval, str]], label: str, line: float | None) -> "Figure":
    figure, ((axes,),) = _axes(1, 1, height=0.8 + 0.3 * len(rows))
    axes.set_xlabel(label)
    for place, (found, colour) in enumerate(rows.values()):
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=4, alpha=0.4, solid_capstyle="butt")
        axes.plot([found.value], [place], "o", color=colour)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if line is not None:
        axes.set_xlim(-0.02, 1.02)
        axes.axvline(line, color=INK, linewidth=0.7, linestyle=":")
    return figure


def _panels(
    groups: Sequence[Sequence[str]],
    drawn: Container[str],
    draw: Callable[["Axes", Palette, str], None],
    x: str,
    y: str,
) -> "Figure":
    """A panel for each group, two in a row, with the lines of those of its arms that can be drawn."""
    columns = min(2, len(groups))
    figure, rows = _axes(-(-len(groups) // columns), columns, height=3.2)
    panels = [axes for row in rows for axes in row]
    for axes, group in zip_longest(panels, groups):
        if group is None:
            axes.remove()
            continue
        palette = Palette(group)
        for arm in group:
            if arm in drawn:
                draw(axes, palette, arm)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=4 - columns,
                frameon=False,
                fontsize=8,
                labelcolor=INK,
                columnspacing=1.0,
                handlelength=1.5,
            )
        axes.tick_params(labelbottom=axes in panels[: len(groups)][-columns:])
    figure.supxlabel(x, fontsize="medium", color=INK)
    figure.supylabel(y, fontsize="medium", color=INK)
    return figure


def _axes(rows: int, columns: int, height: float) -> "tuple[Figure, Sequence[Sequence[Axes]]]":
    """Axes in rows of a height in inches, all with the same limits."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, height * rows), layout="constrained")
        grid: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat:
        axes.grid(alpha=0.25, linewidth=0.5)
    return figure, grid


def svg(figure: "Figure", name: str, alternative: str) -> str:
    """The figure as an SVG element to put into a page, its ids told apart by the name, its ink the page's."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for before, after in ((' id="', f' id="{name}-'), ("url(#", f"url(#{name}-"), ('href="#', f'href="#{name}-')):
        text = text.replace(before, after)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg ", f'<svg role="img" aria-label="{alternative}" ', 1).strip()


def png(figure: "Figure") -> bytes:
    """The figure as a small PNG on white."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()
