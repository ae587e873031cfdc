"""Pictures of patches, masks and predictions, as arrays or PNG bytes: numpy in, no files, no global state."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lsml.bands import BANDS, BLUE, CONSTANTS, GREEN, NEAR_INFRARED, RED, SLOPE
from lsml.metrics import THRESHOLDS, PooledCounts

if TYPE_CHECKING:
    from lsml.data.audit import SplitSummary
    from lsml.data.inventory import Finding

# Okabe & Ito (2008), "Color Universal Design": apart in hue and in lightness, with normal and colour-blind sight.
HIT = (86, 180, 233)
MISS = (240, 228, 66)
FALSE_ALARM = (213, 94, 0)
_HUGE = 1e30  # damaged values may be larger than an axis can hold
_SPLITS = ("#0072B2", "#009E73", "#CC79A7")  # train, validation, test
_CURVE, _SECOND, _MARK = "#0072B2", "#009E73", "#D55E00"
_WIDE = 7.0  # inches of a figure by itself
_EQUAL_F1 = (0.2, 0.4, 0.6, 0.8)
_NO_LANDSLIDE = "no landslide in this split:\nnothing that could be found"

# Reflectance x 10,000 shown as black and as white. Black is what hazy air alone scatters over dark ground (most in the
# blue), white is bare soil in the sun: so colours are true to each other and comparable from patch to patch.
_STRETCH = {RED: (150, 1900), GREEN: (380, 1800), BLUE: (570, 1700), NEAR_INFRARED: (0, 4500)}
_GAMMA = 0.7
_STEEPEST = 60

# Pixels of a panel's pictures: twice a patch's side, so that each of its pixels is two by two and none is lost.
_SIDE, _GAP, _TITLE, _FOOT = 256, 8, 24, 42


def true_colour(image: np.ndarray) -> np.ndarray:
    """Red, green and blue (B4, B3, B2), uint8 (H, W, 3), of stored bands (H, W, 14).

    A fixed stretch, the same for every patch: reflectance .015 to .19 (red), .038 to .18 (green), .057 to .17 (blue) to
    0..255 with a gamma of .7; what lies outside is clipped, and NaN is black.
    """
    return _composite(image, (RED, GREEN, BLUE))


def false_colour(image: np.ndarray) -> np.ndarray:
    """Near infrared, red and green (B8, B4, B3), uint8 (H, W, 3): vegetation is red, bare ground cyan to white.

    Stretched as in `true_colour`, near infrared from 0 to .45.
    """
    return _composite(image, (NEAR_INFRARED, RED, GREEN))


def outcome_map(image: np.ndarray, truth: np.ndarray, probability: np.ndarray, threshold: float) -> np.ndarray:
    """Hits, misses and false alarms, uint8 (H, W, 3), in the colours `HIT`, `MISS`, `FALSE_ALARM` on dark grey.

    Args:
        image: stored bands (H, W, 14).
        truth: (H, W), landslide where above 0.
        probability: (H, W) in 0..1; from `threshold` on a pixel counts as landslide.
    """
    grey = 30 + 0.45 * true_colour(image).mean(-1, keepdims=True)
    outcome = np.repeat(grey, 3, axis=-1).astype(np.uint8)
    landslide, found = truth > 0, probability >= threshold
    outcome[landslide & found] = HIT
    outcome[landslide & ~found] = MISS
    outcome[~landslide & found] = FALSE_ALARM
    return outcome


def draw_patches(images: np.ndarray, masks: np.ndarray, ids: Sequence[str]) -> bytes:
    """One PNG with a row a patch: true colour, false colour, slope in degrees, and the mask over the true colour.

    Args:
        images: stored bands (N, H, W, 14).
        masks: (N, H, W), landslide where above 0.
        ids: N names, one for each row's title.
    """
    figure = Figure(figsize=(10.4, 2.75 * len(images)), dpi=100, layout="constrained")
    rows = figure.subplots(len(images), 4, squeeze=False)
    for row, image, mask, name in zip(rows, images, masks, ids, strict=True):
        _show(row[0], true_colour(image), f"{name}: true colour")
        _show(row[1], false_colour(image), "false colour (B8, B4, B3)")
        slope = np.nan_to_num(image[..., SLOPE]) * CONSTANTS[SLOPE]
        drawn = _show(row[2], slope, "slope (degrees)", cmap="viridis", vmin=0, vmax=_STEEPEST)
        figure.colorbar(drawn, ax=row[2], shrink=0.8, extend="max")
        _show(row[3], _overlay(image, mask), f"mask: {(mask > 0).mean():.1%} landslide")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def draw_augmented(
    versions: Sequence[tuple[np.ndarray, np.ndarray]], ids: Sequence[str], titles: Sequence[str]
) -> bytes:
    """One PNG with a row a patch and a column a version: true colour, and landslides' outlines in orange.

    Args:
        versions: of each, stored bands (N, H, W, 14) and masks (N, H, W), landslide where above 0.
        ids: N names, one for each row.
        titles: one for each version.
    """
    figure = Figure(figsize=(2.1 * len(versions), 2.3 * len(ids)), dpi=100, layout="constrained")
    rows = figure.subplots(len(ids), len(versions), squeeze=False)
    for axes, title, (images, masks) in zip(rows.T, titles, versions, strict=True):
        for place, name, image, mask in zip(axes, ids, images, masks, strict=True):
            _show(place, outlined(image, mask), f"{name}: {title}")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """True colour, uint8 (H, W, 3), with the edges of landslides in `FALSE_ALARM`'s colour.

    Args:
        image: stored bands (H, W, 14).
        mask: (H, W), landslide where above 0.
    """
    padded = np.pad(mask > 0, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    colour = true_colour(image)
    colour[(mask > 0) & ~inner] = FALSE_ALARM
    return colour


def prediction_panel(image: np.ndarray, probability: np.ndarray, threshold: float) -> bytes:
    """One row as PNG: true colour, probability (0..1), and what counts as landslide laid over the true colour.

    Args:
        image: stored bands (H, W, 14).
        probability: (H, W) in 0..1.
        threshold: probability from which a pixel counts as landslide.
    """
    called = probability >= threshold
    figure = Figure(figsize=(9.2, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    colour, belief, overlay = figure.subplots(1, 3)
    _show(colour, true_colour(image), "true colour")
    drawn = _show(belief, probability, "probability of landslide", cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=belief, shrink=0.9)
    _show(overlay, _overlay(image, called), f"landslide from {threshold:.2f} on: {called.mean():.1%}")
    held = io.BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


def draw_audit(splits: Sequence["SplitSummary"], findings: Sequence["Finding"]) -> bytes:
    """One PNG of what an audit found: patches and shares of landslide by split, band ranges, findings by kind."""
    figure = Figure(figsize=(12, 8.4), dpi=100, layout="constrained")
    patches, shares, bands, kinds = figure.subplots(2, 2).flat
    _draw_counts(patches, splits)
    _draw_shares(shares, splits)
    _draw_ranges(bands, splits)
    _draw_findings(kinds, findings)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw_counts(axes: Axes, splits: Sequence["SplitSummary"]) -> None:
    names = [split.name for split in splits]
    empty = np.array([(split.landslide_fractions == 0).sum() for split in splits])
    known = np.array([len(split.landslide_fractions) for split in splits])
    rest = np.maximum(np.array([split.patches for split in splits]) - known, 0)
    bars = axes.bar(names, known - empty, color=_rgb(FALSE_ALARM), label="with landslide")
    bars = axes.bar(names, empty, bottom=known - empty, color=_rgb(HIT), label="without")
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


def _draw_ranges(axes: Axes, splits: Sequence["SplitSummary"]) -> None:
    """Stored values: a line from the smallest to the largest of each band and a dot at the mean."""
    shift = np.linspace(-0.25, 0.25, len(splits))
    for split, colour, offset in zip(splits, _SPLITS, shift, strict=True):
        where = np.arange(len(BANDS)) + offset
        axes.vlines(where, split.minimum, split.maximum, color=colour, linewidth=1.6)
        axes.plot(where, split.mean, "o", color=colour, markersize=4, label=split.name)
    axes.set_xticks(range(len(BANDS)), [band.name.split()[0] for band in BANDS], rotation=45)
    axes.set(title="stored values: range and mean")
    axes.set_yscale("symlog", linthresh=0.5)
    lowest = np.nanmin([0, *(split.minimum.min() for split in splits)])
    highest = np.nanmax([1, *(split.maximum.max() for split in splits)])
    axes.set_ylim(2 * max(lowest, -_HUGE), 2 * min(highest, _HUGE))
    axes.legend(frameon=False, ncols=len(splits))


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
    colours = [_rgb(FALSE_ALARM if severity == "error" else MISS) for severity, _ in counts]
    axes.bar_label(axes.barh(labels, list(counts.values()), color=colours), padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)


def draw_precision_recall(counts: PooledCounts, threshold: float, title: str) -> bytes:
    """`plot_precision_recall` as PNG."""
    return png(plot_precision_recall(counts, threshold, title))


def draw_f1(counts: PooledCounts, threshold: float, title: str) -> bytes:
    """`plot_f1` as PNG."""
    return png(plot_f1(counts, threshold, title))


def draw_reliability(counts: PooledCounts, title: str) -> bytes:
    """`plot_reliability` as PNG."""
    return png(plot_reliability(counts, title))


def plot_precision_recall(counts: PooledCounts, threshold: float, title: str, *, width: float = _WIDE) -> Figure:
    """Precision over recall of all thresholds, with the chosen one marked and lines of equal F1.

    Args:
        title: what was judged, such as `test split, 800 patches`.
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
    axes.plot(curve.recall, curve.precision, color=_CURVE, linewidth=1.8, label=label)
    share = counts.pixels[1].sum() / counts.pixels.sum()
    axes.axhline(share, color="0.4", linewidth=1, linestyle=":", label=f"by chance: {share:.3f}")
    label = (
        f"threshold {threshold:.3f}: precision {chosen.precision:.3f}, recall {chosen.recall:.3f}, F1 {chosen.f1:.3f}"
    )
    axes.plot(chosen.recall, chosen.precision, "o", color=_MARK, markersize=9, label=label, clip_on=False)
    return _with_legend(figure, axes)


def plot_f1(counts: PooledCounts, threshold: float, title: str, *, width: float = _WIDE) -> Figure:
    """F1, precision and recall over the threshold, with the chosen one and the best of these patches marked.

    Args:
        title: what was judged, such as `test split, 800 patches`.
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
    axes.plot(THRESHOLDS, curve.precision, color=_SECOND, linewidth=1.2, linestyle="--", label="precision")
    axes.plot(THRESHOLDS, curve.recall, color="0.3", linewidth=1.2, linestyle=":", label="recall")
    axes.plot(THRESHOLDS, curve.f1, color=_CURVE, linewidth=2.2, label="F1")
    chosen = counts.at(threshold).f1
    axes.axvline(threshold, color=_MARK, linewidth=1)
    axes.plot(threshold, chosen, "o", color=_MARK, markersize=9, label=f"chosen: {threshold:.3f}, F1 {chosen:.3f}")
    label = f"best of these patches: {best:.3f}, F1 {counts.at(best).f1:.3f}"
    axes.plot(best, counts.at(best).f1, "D", color="black", markersize=6, fillstyle="none", label=label)
    return _with_legend(figure, axes)


def plot_reliability(counts: PooledCounts, title: str, *, width: float = _WIDE) -> Figure:
    """Share of landslide over mean probability in equally wide bins, and how many pixels each bin has.

    Args:
        title: what was judged, such as `test split, 800 patches`.
        width: inches; at least 5, so that the texts fit.
    """
    found = counts.reliability()
    edges = np.linspace(0, 1, len(found.pixels) + 1)
    filled = found.pixels > 0
    figure = Figure(figsize=(width, 6.6), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    error = f"calibration error {counts.calibration_error():.4f} ({len(found.pixels)} bins)"
    upper.set_title(f"Reliability: {title}\n{error}\n{_pixels_in_words(counts)}", fontsize=10)
    upper.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle=":", label="perfectly calibrated")
    means, shares = (side[filled] / found.pixels[filled] for side in (found.probability, found.landslide))
    upper.plot(means, shares, "o-", color=_CURVE, linewidth=1.8, markersize=6, label="this model", clip_on=False)
    upper.set(ylabel="share of landslide (of the bin's pixels)", xlim=(0, 1), ylim=(0, 1.01))
    upper.legend(frameon=False, loc="upper left", fontsize=9)
    if not found.landslide.any():
        upper.text(0.7, 0.3, "no landslide in this split:\nevery share is 0", ha="center", va="center", fontsize=12)
    bars = lower.bar(edges[:-1], found.pixels, width=np.diff(edges), align="edge", color="0.7", edgecolor="white")
    lower.bar_label(bars, [_short(int(count)) for count in found.pixels], fontsize=8, padding=1)
    lower.set_yscale("symlog", linthresh=1)
    lower.set(xlabel="mean probability of the bin's pixels (bins of equal width)", ylabel="pixels (log scale)")
    lower.set_ylim(0, 20 * max(1, int(found.pixels.max())))
    lower.set_yticks([0, *(10**power for power in range(0, len(str(found.pixels.max())), 2))])
    return figure


def _axes(title: str, counts: PooledCounts, width: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, 5.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{title}\n{_pixels_in_words(counts)}", fontsize=10)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    return figure, axes


def _pixels_in_words(counts: PooledCounts) -> str:
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


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes whatever the version of Matplotlib is called."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def panel(image: np.ndarray, truth: np.ndarray, probability: np.ndarray, threshold: float) -> np.ndarray:
    """Two by two, uint8 (h, w, 3) 602 x 536: true colour, truth, probability (0..1), and hits, misses, false alarms.

    Nearly square, as are the tiles of MLflow's image grid.

    Args:
        image: stored bands (H, W, 14).
        truth: (H, W), landslide where above 0.
        probability: (H, W) in 0..1.
        threshold: probability from which a pixel counts as landslide.
    """
    width, height = 2 * (_SIDE + _GAP) + _GAP, 2 * (_SIDE + _TITLE) + _FOOT
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    lefts, bottoms = (_GAP, 2 * _GAP + _SIDE), (_FOOT + _SIDE + _TITLE, _FOOT)
    places = [(left / width, bottom / height, _SIDE / width, _SIDE / height) for bottom in bottoms for left in lefts]
    axes = [figure.add_axes(place) for place in places]
    _show(axes[0], true_colour(image), "true colour")
    _show(axes[1], truth > 0, f"truth: {(truth > 0).mean():.1%} landslide", cmap="gray", vmin=0, vmax=1)
    drawn = _show(axes[2], probability, "probability", cmap="viridis", vmin=0, vmax=1)
    _show(axes[3], outcome_map(image, truth, probability, threshold), f"landslide from {threshold:.2f} on")
    bar = figure.add_axes(((lefts[0] + 10) / width, 24 / height, (_SIDE - 20) / width, 9 / height))
    figure.colorbar(drawn, cax=bar, orientation="horizontal", ticks=[0, 0.25, 0.5, 0.75, 1])
    names = {"hit": HIT, "miss": MISS, "false alarm": FALSE_ALARM}
    axes[3].legend(
        handles=[Patch(color=np.array(colour) / 255, label=name) for name, colour in names.items()],
        loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3,
        frameon=False, handlelength=1, handletextpad=0.4, columnspacing=1,
    )  # fmt: skip
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


class PanelParts(NamedTuple):
    """Two of the pictures of a `panel`, uint8 (256, 256, 3)."""

    true_colour: np.ndarray
    outcome: np.ndarray


def panel_parts(picture: np.ndarray) -> PanelParts:
    """The true colour and the hits, misses and false alarms of a `panel`; all of it, twice, of any other picture.

    Args:
        picture: uint8 (h, w, 3).
    """
    width, height = 2 * (_SIDE + _GAP) + _GAP, 2 * (_SIDE + _TITLE) + _FOOT
    if picture.shape != (height, width, 3):
        return PanelParts(picture, picture)
    below, right = 2 * _TITLE + _SIDE, 2 * _GAP + _SIDE
    return PanelParts(
        picture[_TITLE : _TITLE + _SIDE, _GAP : _GAP + _SIDE], picture[below : below + _SIDE, right : right + _SIDE]
    )


def _composite(image: np.ndarray, bands: Sequence[int]) -> np.ndarray:
    black, white = np.array([_STRETCH[band] for band in bands]).T
    reflectance = np.nan_to_num(image[..., list(bands)]) * np.array(CONSTANTS)[list(bands)]
    return (np.clip((reflectance - black) / (white - black), 0, 1) ** _GAMMA * 255).astype(np.uint8)


def _overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    colour = true_colour(image)
    colour[mask > 0] = 0.4 * colour[mask > 0] + 0.6 * np.array(FALSE_ALARM)
    return colour


def _show(axes: Axes, picture: np.ndarray, title: str, **options: Any) -> Any:
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return axes.imshow(picture, interpolation="nearest", **options)
