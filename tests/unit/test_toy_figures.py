"""The toy's figures: all there, valid, not blank, within their frames, and the same bytes each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from forklock import figure_style as style
from forklock.decoding import Decoding
from forklock.toy import ToyConfig, ToyResult, compute, draw

NAMES = (
    "figure_04_conflict",
    "figure_05_forks_and_locks",
    "figure_12_state_machine",
    "figure_13_reshaping",
    "figure_14_regimes",
    "figure_convergence",
)


@pytest.fixture(scope="module")
def result() -> ToyResult:
    return compute(ToyConfig(num_trajectories=(300, 3000), num_seeds=2))


@pytest.fixture(scope="module")
def folder(result: ToyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "made" / "as needed"
    paths = draw(result, folder)
    assert sorted(path.name for path in paths) == sorted(f"{name}.{kind}" for name in NAMES for kind in ("png", "svg"))
    assert sorted(folder.iterdir()) == sorted(paths)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_png_has_a_picture_at_150_dpi(folder: Path, name: str) -> None:
    pixels = imread(folder / f"{name}.png")[..., :3]
    height, width, _ = pixels.shape
    assert width >= 150 * 8
    assert height >= 150 * 3
    assert pixels.std() > 0.05
    # Ink in every ninth of the picture, and a white margin all around: nothing is cut off.
    for row in range(3):
        for column in range(3):
            part = pixels[row * height // 3 : (row + 1) * height // 3, column * width // 3 : (column + 1) * width // 3]
            assert part.min() < 0.6
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert edge.min() == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_well_formed_and_undated(folder: Path, name: str) -> None:
    text = (folder / f"{name}.svg").read_text()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 50
    assert "<dc:date>" not in text
    assert "Matplotlib v" not in text


def test_same_result_gives_the_same_bytes_whatever_the_user_has_set(
    result: ToyResult, folder: Path, tmp_path: Path
) -> None:
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 7, "svg.hashsalt": "another"}):
        before = dict(mpl.rcParams)
        paths = draw(result, tmp_path)
        assert dict(mpl.rcParams) == before
    for path in paths:
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_no_text_overlaps_another_or_leaves_the_figure(
    result: ToyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes of all visible texts, a pixel smaller each way."""
    figures: dict[str, Figure] = {}

    def keep(figure: Figure, folder: Path, name: str) -> list[Path]:
        figures[name] = figure
        return []

    monkeypatch.setattr(style, "save", keep)
    assert draw(result, tmp_path) == []
    assert sorted(figures) == sorted(NAMES)
    with style.house_style():
        for name, figure in figures.items():
            canvas: Any = FigureCanvasAgg(figure)
            canvas.draw()
            renderer = canvas.get_renderer()
            texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
            boxes = [(text.get_text(), text.get_window_extent(renderer).padded(-1)) for text in texts]
            boxes = [(text, box) for text, box in boxes if box.width > 0 and box.height > 0]
            for index, (text, box) in enumerate(boxes):
                assert box.x0 >= 0, (name, text)
                assert box.y0 >= 0, (name, text)
                assert box.x1 <= figure.bbox.width, (name, text)
                assert box.y1 <= figure.bbox.height, (name, text)
                for other, other_box in boxes[index + 1 :]:
                    assert not box.overlaps(other_box), (name, text, other)


@pytest.mark.parametrize("train", [Decoding(1.0, 0, 1.0), Decoding(0.0)], ids=str)
def test_other_settings_can_be_drawn(train: Decoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(figure: Figure, folder: Path, name: str) -> list[Path]:
        figure.savefig(folder / f"{name}.png", dpi=40)
        return [folder / f"{name}.png"]

    monkeypatch.setattr(style, "save", small)
    result = compute(ToyConfig(train=train, top_p=(0.8,), num_trajectories=(20, 500), num_seeds=1))
    for path in draw(result, tmp_path):
        assert imread(path)[..., :3].std() > 0.05
