"""The opening tree, and its plot."""

from __future__ import annotations

import pytest

import xiangqi_samples as samples
from nlpx.xiangqi.formats.notation import iccs, parse_iccs
from nlpx.xiangqi.formats.openings import OpeningNode, one_side, tree_rows
from nlpx.xiangqi.rules.pieces import mirrored


def tree(*, merged: bool = False) -> OpeningNode:
    root = OpeningNode()
    for game in samples.games():
        root.add((one_side(game.moves) if merged else game.moves)[:3], game.result)
    return root


def test_counts_and_scores():
    root = tree()
    assert root.num_games == 6
    assert root.red_score == pytest.approx((1 + 0.5 + 0 + 1 + 0) / 5)  # the unknown result does not count
    rows = list(tree_rows(root, depth=2))
    assert [(row["line"], row["games"]) for row in rows[:4]] == [
        ("h2e2", 3),
        ("h2e2 h9g7", 2),
        ("h2e2 h7e7", 1),
        ("g0e2", 1),
    ]
    assert (rows[0]["chinese"], rows[1]["chinese"], rows[0]["fraction"]) == ("炮二平五", "马8进7", 0.5)
    assert rows[1]["fraction"] == pytest.approx(2 / 3)
    assert rows[0]["red_score"] == 0.5
    unknown = next(row for row in rows if row["line"] == "c3c4")
    assert unknown["red_score"] is None


def test_limits():
    assert [row["line"] for row in tree_rows(tree(), depth=3, num_least=2)] == ["h2e2", "h2e2 h9g7", "h2e2 h9g7 h0g2"]
    assert len(list(tree_rows(tree(), depth=1, num_most=2))) == 2
    assert list(tree_rows(tree(), depth=0)) == []


def test_mirror_images_are_one():
    moves = [parse_iccs(text) for text in ("b2e2", "b9c7", "b0c2")]
    assert [iccs(move) for move in one_side(moves)] == ["h2e2", "h9g7", "h0g2"]
    assert one_side(one_side(moves)) == one_side([mirrored(move) for move in moves])
    assert tree(merged=True).children[parse_iccs("h2e2")].num_games == 4


def test_the_plot_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    from nlpx.report.chess import plot_openings

    rows = list(tree_rows(tree(), depth=3))
    assert plot_openings(rows, 6, [len(game.moves) for game in samples.games()], tmp_path / "tree.png")
    assert (tmp_path / "tree.png").read_bytes().startswith(b"\x89PNG")
    assert not plot_openings([], 0, [], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
