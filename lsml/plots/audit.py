"""The figures of a data check and of an audit of splits, as PNG bytes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from lsml.audit.splits import FOLDS, NEAR, Holdout, Pair, Separability
from lsml.data.sensor import Sensor
from lsml.plots import BLUE, GREEN, OUTCOMES, PURPLE, VERMILLION, png
from lsml.plots.patches import show_picture, true_colour

if TYPE_CHECKING:
    from lsml.data.checks import CheckResult, SplitSummary
    from lsml.data.listing import Finding

_HUGE = 1e30  # damaged values may be larger than an axis can hold
_SPLITS = (BLUE, GREEN, PURPLE)  # train, validation, test


def draw_audit(checked: "CheckResult") -> bytes:
    """One PNG of a data check: patches and shares of landslide by split, band ranges, findings by kind."""
    figure = Figure(figsize=(12, 8.4), dpi=100, layout="constrained")
    patches, shares, bands, kinds = figure.subplots(2, 2).flat
    _draw_counts(patches, checked.splits)
    _draw_shares(shares, checked.splits)
    _draw_ranges(bands, checked.splits, checked.sensor)
    _draw_findings(kinds, checked.findings)
    return png(figure)


def _draw_counts(axes: Axes, splits: Sequence["SplitSummary"]) -> None:
    names = [split.name for split in splits]
    empty = np.array([(split.landslide_fractions == 0).sum() for split in splits])
    known = np.array([len(split.landslide_fractions) for split in splits])
    rest = np.maximum(np.array([split.patches for split in splits]) - known, 0)
    bars = axes.bar(names, known - empty, color=OUTCOMES["false alarm"], label="with landslide")
    bars = axes.bar(names, empty, bottom=known - empty, color=OUTCOMES["hit"], label="without")
    bars = axes.bar(names, rest, bottom=known, color="0.8", label="no usable mask")
    axes.bar_label(bars, [f"{split.patches:,}" for split in splits])
    axes.set(title="patches")
    axes.margins(y=0.1)
    axes.legend(frameon=False)


def _draw_shares(axes: Axes, splits: Sequence["SplitSummary"]) -> None:
    """For each split, which share of its patches has at most so much landslide: the curve starts at the empty ones."""
    for split, colour in zip(splits, _SPLITS, strict=True):
        if split.landslide_share is not None:
            label = f"{split.name}: {split.landslide_share:.2%} of the pixels, {split.empty_share:.0%} of patches empty"
            axes.ecdf(100 * split.landslide_fractions, color=colour, linewidth=1.6, label=label)
    axes.set(title="imbalance", xlabel="landslide in a patch (% of its pixels)", ylabel="share of patches with at most")
    axes.set_ylim(0, 1.02)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower right")


def _draw_ranges(axes: Axes, splits: Sequence["SplitSummary"], sensor: Sensor) -> None:
    """Stored values: a line from the smallest to the largest of each band and a dot at the mean."""
    shift = np.linspace(-0.25, 0.25, len(splits))
    for split, colour, offset in zip(splits, _SPLITS, shift, strict=True):
        where = np.arange(len(sensor)) + offset
        axes.vlines(where, split.minimum, split.maximum, color=colour, linewidth=1.6)
        axes.plot(where, split.mean, "o", color=colour, markersize=4, label=split.name)
    _name_bands(axes, sensor)
    axes.set(title="stored values: range and mean")
    axes.set_yscale("symlog", linthresh=0.5)
    lowest = np.nanmin([0, *(split.minimum.min() for split in splits)])
    highest = np.nanmax([1, *(split.maximum.max() for split in splits)])
    axes.set_ylim(2 * max(lowest, -_HUGE), 2 * min(highest, _HUGE))
    axes.legend(frameon=False, ncols=len(splits))


def _name_bands(axes: Axes, sensor: Sensor) -> None:
    axes.set_xticks(range(len(sensor)), [band.name.split()[0] for band in sensor.bands], rotation=45)


def _draw_findings(axes: Axes, findings: Sequence["Finding"]) -> None:
    axes.set(title="findings, by the files that they name")
    if not findings:
        axes.text(0.5, 0.5, "none", ha="center", va="center", fontsize=14)
        axes.set_axis_off()
        return
    counts: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        counts[finding.severity, finding.kind] += len(finding.files)
    labels = [f"{kind} ({severity})" for severity, kind in counts]
    colours = [OUTCOMES["false alarm" if severity == "error" else "miss"] for severity, _ in counts]
    axes.bar_label(axes.barh(labels, list(counts.values()), color=colours), padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)


_BINS = np.linspace(0, 1, 51).tolist()
_STYLES = (("-", BLUE), ("--", GREEN), (":", VERMILLION))


def draw_holdout(holdout: Holdout) -> bytes:
    """F1 of every repeat held out in random parts and in contiguous blocks, with the means."""
    figure = Figure(figsize=(8, 3.9), dpi=110, layout="constrained")
    axes = figure.subplots()
    value, (low, high), _ = holdout.optimism
    interval = f"95 % interval {low:+.3f} to {high:+.3f}"
    axes.set_title(f"F1 by a random hold-out less that in contiguous blocks: {value:+.3f}\n{interval}", fontsize=11)
    rows = (("random fifths", holdout.random, VERMILLION), ("contiguous fifths", holdout.blocks, BLUE))
    for place, (_, scores, colour) in enumerate(rows):
        mean = float(np.mean(scores))
        axes.plot([mean, mean], [place - 0.24, place + 0.24], color=colour, linewidth=3)
        axes.plot(scores, np.full(len(scores), place), "o", color=colour, markersize=9, alpha=0.6)
        axes.annotate(f"mean {mean:.3f}", (mean, place - 0.26), ha="center", va="bottom", fontsize=10)
    axes.set_yticks([0, 1], [name for name, *_ in rows], fontsize=11)
    axes.set_ylim(1.5, -0.6)
    scores = (*holdout.random, *holdout.blocks)
    margin = max(0.02, 0.25 * (max(scores) - min(scores)))
    axes.set_xlim(max(0, min(scores) - margin), max(scores) + margin)
    axes.set_xlabel(
        f"F1 pooled over {holdout.pixels:,} pixels of {holdout.patches:,} train patches, each held out once a repeat\n"
        f"(a dot is one of {len(holdout.random)} repeats, a line their mean; {FOLDS} parts a repeat; gradient boosting)"
    )
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return png(figure)


def draw_similarity(pairs: Sequence[Pair]) -> bytes:
    """For every later split, how like its patches are to their closest of an earlier one."""
    figure = Figure(figsize=(8, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    groups = dict.fromkeys((pair.match_split, pair.split) for pair in pairs)
    for (style, colour), (earlier, later) in zip(_STYLES, sorted(groups), strict=False):
        mine = [pair for pair in pairs if (pair.match_split, pair.split) == (earlier, later)]
        alike = sum(pair.kind != "apart" for pair in mine)
        axes.hist(
            np.clip([pair.correlation for pair in mine], 0, 1), _BINS, histtype="step", linestyle=style, color=colour,
            linewidth=1.8, label=f"{len(mine):,} patches of {later}, closest in {earlier}: {alike} duplicates",
        )  # fmt: skip
    axes.axvline(NEAR, color="0.3", linewidth=1)
    axes.annotate(
        f"near-duplicates\nfrom {NEAR:g} on ", (NEAR, 0.98), xycoords=("data", "axes fraction"), ha="right", va="top"
    )
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 2 * max(2, len(pairs) / len(groups)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set(xlim=(0, 1.005), ylabel="patches (log scale)", title="How like is the closest patch of another split?")
    axes.set_xlabel("correlation of 16 x 16 thumbnails, in the orientation that is most alike")
    figure.legend(frameon=False, loc="outside lower center", fontsize=10)
    return png(figure)


def draw_pairs(pairs: Sequence[Pair], images: Mapping[str, np.ndarray], sensor: Sensor) -> bytes:
    """The closest pairs in true colour, two pairs a row, each patch turned as it is most like the other.

    Args:
        images: stored bands (H, W, C) by file.
    """
    height = (len(pairs) + 1) // 2
    figure = Figure(figsize=(10.4, 3.1 * height + 0.5), dpi=100, layout="constrained")
    figure.suptitle(f"The {len(pairs)} closest pairs across splits, the most alike first (true colour)", fontsize=12)
    grid = figure.subplots(height, 4, squeeze=False).reshape(-1, 2)
    for axes in grid[len(pairs) :].flat:
        axes.set_axis_off()
    for (left, right), pair in zip(grid, pairs, strict=False):
        kind = {"exact": "all values equal", "near": "near-duplicate", "apart": "not a duplicate"}[pair.kind]
        title = f"{kind}, correlation {pair.correlation:.3f}\n{_name(pair.match)}"
        show_picture(left, true_colour(images[pair.match], sensor), title, loc="left")
        picture = pair.turned(true_colour(images[pair.file], sensor))
        degrees = "°" if pair.orientation[-1].isdigit() else ""
        show_picture(right, picture, f"{pair.orientation}{degrees}\n{_name(pair.file)}", loc="left")
    return png(figure)


def _name(file: str) -> str:
    """`TrainData/img/image_3.h5` as `TrainData image_3`."""
    folder, _, name = file.rpartition("/")
    return f"{folder.removesuffix('/img')} {name.removesuffix('.h5')}"


def draw_separability(pairs: Sequence[Separability], sensor: Sensor) -> bytes:
    """The AUC of every two splits with its interval, and of the mean of each band alone."""
    figure = Figure(figsize=(11, 2.8 + 0.7 * len(pairs)), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.7])
    names = [f"{pair.first} ({pair.n_first:,}) and\n{pair.second} ({pair.n_second:,} patches)" for pair in pairs]
    places = np.arange(len(pairs))
    for place, pair in zip(places, pairs, strict=True):
        left.plot(pair.interval, [place, place], color=BLUE, linewidth=2.5)
        left.plot(pair.auc, place, "o", color=BLUE, markersize=9)
        left.annotate(f"{pair.auc:.2f}", (pair.auc, place - 0.12), ha="center", va="bottom", fontsize=10)
    left.axvline(0.5, color="0.3", linewidth=1, linestyle=":")
    left.set_yticks(places, names)
    left.set(xlim=(0.28, 1.02), ylim=(len(pairs) - 0.4, -0.6), title="can a classifier tell the splits apart?")
    left.set_xlabel("AUC with 95 % interval\n(.5: not at all, 1: every patch)")
    table = np.array([pair.bands for pair in pairs])
    drawn = right.imshow(table, cmap="PuOr_r", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if abs(value - 0.5) > 0.33 else "black"
        right.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=9, color=colour)
    _name_bands(right, sensor)
    right.set_yticks(places, [""] * len(pairs))
    right.set_title("by one band's mean over a patch alone")
    right.set_xlabel("(.5: alike, 1: always higher in the second split, 0: always lower)")
    figure.colorbar(drawn, ax=right, label="AUC")
    return png(figure)
