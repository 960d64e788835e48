"""The common style: no dates, a footer, equal bytes."""

from __future__ import annotations

from matplotlib import pyplot as plt

from regimes.plot import style


def draw(path):
    with style.applied():
        figure, axes = plt.subplots(figsize=(style.COLUMN, 2))
        axes.plot([1, 2], [1, 2])
        style.panel_label(axes, "a")
        style.footer(figure, "laptop", [[3, 5], [10, 10]], "0123456789abcdef")
        style.save(figure, path)
        return figure


def test_equal_figures_have_equal_bytes(tmp_path):
    for suffix in ("pdf", "png"):
        draw(tmp_path / f"a.{suffix}")
        draw(tmp_path / f"b.{suffix}")
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert one == two
        assert b"CreationDate" not in one


def test_footer_names_scale_seeds_and_code(tmp_path):
    figure = draw(tmp_path / "a.png")
    (text,) = figure.texts
    assert text.get_text() == "scale laptop · seeds 3–10 · code 01234567"
    assert plt.get_fignums() == []
