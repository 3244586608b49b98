"""Plots of a run as PNG files: loss, score and reliability; fixed size, labels beside the lines, grey grid.

matplotlib (extra `plot`) is imported on first use and driven through its Agg canvas, so no display is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nlpx.errors import MachineError, install_hint
from nlpx.io import write_atomically
from nlpx.metrics.binary import NUM_BINS, calibration_error
from nlpx.notes import note
from nlpx.report.history import History
from nlpx.report.tables import display_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, UPRIGHT = (7.2, 4.2), (5.2, 5.8)  # inches
DOTS_PER_INCH = 144
INK, MUTED, GRID = "#222222", "#767676", "#e4e4e4"
MAIN, SECOND = "#0b5fa5", "#c8501e"
# Three text shapes by hue, A solid and B dashed, so that the lines stay apart without colour as well.
SHAPE_COLORS = {"ss": "#2a8c6a", "sl": "#7a5fb0", "ll": "#b8860b"}
SMOOTHING = 0.9
LABEL_GAP = 0.052  # share of the axes' height that one label needs
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Heiti SC",
)
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.1,
}


class Label(NamedTuple):
    """A name written beside the end of a line."""

    height: float  # in data units
    text: str
    color: str


def available() -> bool:
    """Return whether matplotlib is installed, without importing it."""
    return find_spec("matplotlib") is not None


def plot_loss(history: History, path: Path) -> bool:
    """Draw training loss (raw and smoothed) and dev loss over steps; return whether there was anything to draw."""
    steps, losses = history.points("train", "loss")
    dev_steps, dev_losses = history.points("dev", "loss")
    if not steps and not dev_steps:
        return False
    with canvas(path) as figure:
        axes = figure.add_subplot(title="Loss", xlabel="step")
        labels = []
        if steps:
            smooth = smoothed(losses)
            axes.plot(steps, losses, color=MAIN, alpha=0.25, linewidth=0.9)
            axes.plot(steps, smooth, color=MAIN, linewidth=1.9)
            labels.append(Label(smooth[-1], f"train {smooth[-1]:.3f}\n(smoothed)", MAIN))
        if dev_steps:
            axes.plot(dev_steps, dev_losses, color=SECOND, linewidth=1.9, marker="o", markersize=4)
            labels.append(Label(dev_losses[-1], f"dev {dev_losses[-1]:.3f}", SECOND))
        _label_ends(axes, labels, gap=2 * LABEL_GAP)
    return True


def plot_score(history: History, path: Path) -> bool:
    """Draw the dev score over steps, behind it macro F1 or the F1 of each variant; return whether there was any."""
    steps, scores = history.points("dev", "score")
    if not steps:
        return False
    best = max(range(len(scores)), key=scores.__getitem__)
    with canvas(path) as figure:
        title = f"{_score_name(history)} on dev: best {scores[best]:.3f} at step {steps[best]}"
        axes = figure.add_subplot(title=title, xlabel="step", ylim=(0, 1))
        labels = [_plot_variant(axes, history, name) for name in _variant_names(history)]
        labels += _plot_macro(axes, history)
        axes.plot(steps, scores, color=INK, linewidth=2.4, marker="o", markersize=4)
        axes.plot(steps[best], scores[best], marker="o", markersize=11, markerfacecolor="none", color=INK)
        labels.append(Label(scores[-1], f"score {scores[-1]:.3f}", INK))
        _label_ends(axes, labels)
    return True


def _plot_variant(axes: Axes, history: History, name: str) -> Label:
    evaluations = [record for record in history.split("dev") if name in record.get("variants", {})]
    values = [record["variants"][name]["f1"] for record in evaluations]
    color = SHAPE_COLORS.get(name[:2], MUTED)
    style = "--" if name.endswith("B") else "-"
    axes.plot([record["step"] for record in evaluations], values, color=color, linewidth=1.2, linestyle=style)
    return Label(values[-1], f"{drawable(name)} {values[-1]:.2f}", color)


def _plot_macro(axes: Axes, history: History) -> list[Label]:
    steps, values = history.points("dev", "macro_f1")
    if not steps:
        return []
    axes.plot(steps, values, color=MUTED, linewidth=1.2)
    return [Label(values[-1], f"macro F1 {values[-1]:.2f}", MUTED)]


def _score_name(history: History) -> str:
    name = str((history.best or {}).get("score_is", "score"))
    return "F1" if _variant_names(history) else name[:1].upper() + name[1:]


def _variant_names(history: History) -> list[str]:
    return list(dict.fromkeys(name for record in history.split("dev") for name in record.get("variants", {})))


def plot_reliability(
    bins: Sequence[Mapping[str, Any]], path: Path, *, share: str = "share of positives", unit: str = "pairs"
) -> bool:
    """Draw the share of positives over the mean probability of each bin, with the counts below.

    `share` and `unit` are the names of what is counted, for the axes.
    """
    if not bins:
        return False
    with canvas(path, size=UPRIGHT) as figure:
        title = f"Reliability on dev: calibration error {calibration_error(bins):.3f}"
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel=share, title=title)
        upper.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=":")
        upper.text(0.055, 0.095, "perfect", color=MUTED, fontsize=9, rotation=45, transform_rotates_text=True)
        means = [row["mean_probability"] for row in bins]
        shares = [row["positive_share"] for row in bins]
        upper.plot(means, shares, color=MAIN, linewidth=1.9, marker="o", markersize=5, clip_on=False, zorder=3)
        centres = [(row["bin"] + 0.5) / NUM_BINS for row in bins]
        lower.bar(centres, [row["count"] for row in bins], width=0.9 / NUM_BINS, color=MAIN, alpha=0.55)
        lower.set(xlabel="predicted probability", ylabel=unit)
        lower.margins(y=0.12)
        lower.locator_params(axis="y", nbins=3, integer=True)
        figure.align_ylabels()
    return True


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the running mean with exponential weights, corrected for the start as Adam does it."""
    result, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        result.append(mean / weight)
    return result


def drawable(text: str) -> str:
    """Return the text if a font can draw it; without a Chinese font, wide characters become `?`, and a note says so."""
    if display_width(text) == len(text) or _cjk_font() is not None:
        return text
    fonts = ", ".join(CJK_FONTS[:3])
    note(f"no Chinese font was found, so plots show numbers or ? in place of characters; one of {fonts} will do")
    return "".join("?" if display_width(character) > 1 else character for character in text)


@cache
def _cjk_font() -> str | None:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return next((name for name in CJK_FONTS if name in installed), None)


@contextmanager
def canvas(path: Path, *, size: tuple[float, float] = WIDE) -> Iterator[Figure]:
    """Yield an empty figure in the house style; save it as PNG when the block ends well."""
    try:
        from matplotlib import rc_context, rcParams
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        message = "plots need matplotlib, which is not installed"
        raise MachineError(message, hint=install_hint("plot")) from None
    fonts = [font for font in [_cjk_font()] if font] + list(rcParams["font.sans-serif"])
    with rc_context({**STYLE, "font.family": "sans-serif", "font.sans-serif": fonts}):
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            # Without the version in the file, equal data give equal bytes.
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _label_ends(axes: Axes, labels: Sequence[Label], *, gap: float = LABEL_GAP) -> None:
    """Write each label to the right of the axes at the height of its line, pushed apart where they would meet."""
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: label.height)
    wanted = [(label.height - low) / (high - low) for label in ordered]
    for height, label in zip(spread(wanted, gap=gap), ordered, strict=True):
        axes.text(1.015, height, label.text, color=label.color, transform=axes.transAxes, va="center", fontsize=9)


def spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """Return ascending heights moved as little as needed to be `gap` apart, within [0, 1] if they fit."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else max(height, 0.0))
    ceiling = max(1.0, (len(placed) - 1) * gap)
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed
