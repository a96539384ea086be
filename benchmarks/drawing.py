"""What all pictures share: their inks, and how a figure and its axes look."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, FAINT, PAPER = "#1f2328", "#8a929c", "#ffffff"


def drawing(width: float, height: float) -> Figure:
    """Return an empty figure, its size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    FigureCanvasSVG(figure)
    return figure


def tidy(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Give the axes their titles, and take away what is not needed."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2.5, color=FAINT)
