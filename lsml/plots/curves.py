"""Curves of an evaluation: precision and recall, F1 over the threshold, reliability."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsml.plots import BLUE, GREEN, VERMILLION
from lsml.scoring.metrics import THRESHOLDS, PooledCounts

_WIDE = 7.0  # inches of a figure by itself
_EQUAL_F1 = (0.2, 0.4, 0.6, 0.8)
_NO_LANDSLIDE = "no landslide in this split:\nnothing that could be found"


def plot_precision_recall(counts: PooledCounts, threshold: float, title: str, *, width: float = _WIDE) -> Figure:
    """Precision over recall of all thresholds, with the chosen one marked and lines of equal F1.

    Args:
        title: what was scored, such as `test split, 800 patches`.
        width: inches; at least 5, so that the texts fit.
    """
    figure, axes = _axes(f"Precision and recall: {title}", counts, width)
    axes.set(xlabel="recall (share of landslide pixels found)", ylabel="precision (share of alarms that are landslide)")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
    if not counts.pixels[1].any():
        return _without_landslide(figure, axes)
    for f1 in _EQUAL_F1:
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color="0.85", linewidth=0.8, zorder=0)
        axes.text(1, f1 / (2 - f1) - 0.01, f"F1 {f1}", color="0.4", fontsize=8, ha="right", va="top")
    curve, chosen = counts.curve(), counts.at(threshold)
    label = f"average precision {counts.average_precision():.3f}"
    axes.plot(curve.recall, curve.precision, color=BLUE, linewidth=1.8, label=label)
    share = counts.pixels[1].sum() / counts.pixels.sum()
    axes.axhline(share, color="0.4", linewidth=1, linestyle=":", label=f"by chance: {share:.3f}")
    label = (
        f"threshold {threshold:.3f}: precision {chosen.precision:.3f}, recall {chosen.recall:.3f}, F1 {chosen.f1:.3f}"
    )
    axes.plot(chosen.recall, chosen.precision, "o", color=VERMILLION, markersize=9, label=label, clip_on=False)
    return _with_legend(figure, axes)


def plot_f1(counts: PooledCounts, threshold: float, title: str, *, width: float = _WIDE) -> Figure:
    """F1, precision and recall over the threshold, with the chosen one and the best of these patches marked.

    Args:
        title: what was scored, such as `test split, 800 patches`.
        width: inches; at least 5, so that the texts fit.
    """
    figure, axes = _axes(f"F1 over threshold: {title}", counts, width)
    axes.set(
        xlabel="threshold (probability from which a pixel counts as landslide)", ylabel="score of landslide pixels"
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    if not counts.pixels[1].any():
        return _without_landslide(figure, axes)
    curve, best = counts.curve(), counts.best_threshold()
    axes.plot(THRESHOLDS, curve.precision, color=GREEN, linewidth=1.2, linestyle="--", label="precision")
    axes.plot(THRESHOLDS, curve.recall, color="0.3", linewidth=1.2, linestyle=":", label="recall")
    axes.plot(THRESHOLDS, curve.f1, color=BLUE, linewidth=2.2, label="F1")
    chosen = counts.at(threshold).f1
    axes.axvline(threshold, color=VERMILLION, linewidth=1)
    axes.plot(threshold, chosen, "o", color=VERMILLION, markersize=9, label=f"chosen: {threshold:.3f}, F1 {chosen:.3f}")
    label = f"best of these patches: {best:.3f}, F1 {counts.at(best).f1:.3f}"
    axes.plot(best, counts.at(best).f1, "D", color="black", markersize=6, fillstyle="none", label=label)
    return _with_legend(figure, axes)


def plot_reliability(counts: PooledCounts, title: str, *, width: float = _WIDE) -> Figure:
    """Share of landslide over mean probability in equally wide bins, and how many pixels each bin has.

    Args:
        title: what was scored, such as `test split, 800 patches`.
        width: inches; at least 5, so that the texts fit.
    """
    bins = counts.reliability()
    edges = np.linspace(0, 1, len(bins.pixels) + 1)
    filled = bins.pixels > 0
    figure = Figure(figsize=(width, 6.6), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    error = f"calibration error {counts.calibration_error():.4f} ({len(bins.pixels)} bins)"
    upper.set_title(f"Reliability: {title}\n{error}\n{_describe_pixels(counts)}", fontsize=10)
    upper.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle=":", label="perfectly calibrated")
    means, shares = (side[filled] / bins.pixels[filled] for side in (bins.probability, bins.landslide))
    upper.plot(means, shares, "o-", color=BLUE, linewidth=1.8, markersize=6, label="this model", clip_on=False)
    upper.set(ylabel="share of landslide (of the bin's pixels)", xlim=(0, 1), ylim=(0, 1.01))
    upper.legend(frameon=False, loc="upper left", fontsize=9)
    if not bins.landslide.any():
        upper.text(0.7, 0.3, "no landslide in this split:\nevery share is 0", ha="center", va="center", fontsize=12)
    bars = lower.bar(edges[:-1], bins.pixels, width=np.diff(edges), align="edge", color="0.7", edgecolor="white")
    lower.bar_label(bars, [_short(int(count)) for count in bins.pixels], fontsize=8, padding=1)
    lower.set_yscale("symlog", linthresh=1)
    lower.set(xlabel="mean probability of the bin's pixels (bins of equal width)", ylabel="pixels (log scale)")
    lower.set_ylim(0, 20 * max(1, int(bins.pixels.max())))
    lower.set_yticks([0, *(10**power for power in range(0, len(str(bins.pixels.max())), 2))])
    return figure


def _axes(title: str, counts: PooledCounts, width: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, 5.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{title}\n{_describe_pixels(counts)}", fontsize=10)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    return figure, axes


def _describe_pixels(counts: PooledCounts) -> str:
    total, landslide = int(counts.pixels.sum()), int(counts.pixels[1].sum())
    return f"{total:,} pixels, {landslide:,} of them landslide ({landslide / max(total, 1):.2%})"


def _short(count: int) -> str:
    """At most four characters: 987, 12k, 3.4M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.{0 if count >= 10 * size else 1}f}{unit}"
    return str(count)


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    """The figure, its legend below the axes, where it hides nothing."""
    columns = 2 if figure.get_figwidth() >= _WIDE else 1
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, frameon=False, loc="outside lower center", ncols=columns, fontsize=9)
    return figure


def _without_landslide(figure: Figure, axes: Axes) -> Figure:
    axes.text(0.5, 0.5, _NO_LANDSLIDE, ha="center", va="center", fontsize=13, transform=axes.transAxes)
    return figure
