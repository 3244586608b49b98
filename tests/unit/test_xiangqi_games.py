"""Readers of games: every format, every encoding, and where and why a game is rejected."""

from __future__ import annotations

import gzip
import json
import random
import re

import pytest

import xiangqi_samples as samples
from nlpx.errors import InputError, UsageError
from nlpx.xiangqi.formats.games import Game, Rejected, read_games, write_games
from nlpx.xiangqi.formats.move_lists import read_json_lines
from nlpx.xiangqi.formats.notation import chinese, iccs
from nlpx.xiangqi.formats.pgn import write_pgn
from nlpx.xiangqi.rules.board import START, Position

PGN = """[Game "Chinese Chess"]
[Event "试手"]
[Red "甲"]
[Black "乙"]
[Result "1-0"]

1. 炮二平五 {当头炮
[Event "no tag: inside a comment"] 是常见的} 马8进7
2. 马二进三 (2. 马八进七 (2. 兵七进一 卒7进1) 马2进3) 车9平8
3. 车一平二! $1 马2进3?! ; to the end of the line 兵五进一
4. 兵七进一 卒7进1 1-0
"""
PLAIN = "h2e2 h9g7 h0g2 i9h9 i0h0 b9c7 c3c4 g6g5"


@pytest.fixture
def read(tmp_path):
    def call(text: str | bytes, name: str = "games.txt", encoding: str = "auto") -> list[Game | Rejected]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(read_games(path, encoding))

    return call


def moves_of(game: Game | Rejected) -> str:
    assert isinstance(game, Game), game
    return " ".join(map(iccs, game.moves))


def test_pgn_with_comments_and_variations(read):
    (game,) = read(PGN, "one.pgn")
    assert moves_of(game) == PLAIN
    assert (game.result, game.start) == ("1-0", None)
    assert game.tags == {"event": "试手", "red": "甲", "black": "乙"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings_are_recognised(read, encoding):
    (game,) = read(PGN.encode(encoding))
    assert (moves_of(game), game.tags["red"]) == (PLAIN, "甲")


def test_big5_is_recognised(read):
    text = PGN.translate(str.maketrans("马进车试当头见", "馬進車試當頭見"))
    (game,) = read(text.encode("big5"))
    assert (moves_of(game), game.tags["event"]) == (PLAIN, "試手")


def test_a_wrong_encoding_is_named(read):
    (game,) = read(PGN.encode("gb18030"), encoding="utf-8")
    assert game.ply == 1
    assert "not UTF-8: another --encoding?" in game.reason


def test_an_unknown_encoding(read):
    with pytest.raises(UsageError, match="unknown encoding `klingon`"):
        read(PGN, encoding="klingon")


def test_broken_bytes_in_a_comment_do_no_harm(read):
    raw = PGN.encode("gb18030").replace("常见".encode("gb18030"), b"\xb3\xff ")
    assert moves_of(read(raw)[0]) == PLAIN


@pytest.mark.parametrize(
    "movetext",
    [
        "1. H2-E2 H9-G7 2. H0-G2 I9-H9 3. I0-H0 B9-C7 4. C3-C4 G6-G5",
        "1. h2e2 h9g7\n2. h0g2 i9h9\n3. i0h0 b9c7\n4. c3c4 g6g5 *",
        "1. C2=5 H8+7 2. H2+3 R9=8 3. R1=2 H2+3 4. P7+1 P7+1",
        "1.炮二平五马8进7 2.马二进三车9平8 3.车一平二马2进3 4.兵七进一卒7进1",
        "1、砲二平五 馬８進７ 2、馬二進三 車９平８ 3、車一平二 馬２進３ 4、兵七進一 卒７進１",
    ],
)
@pytest.mark.parametrize("header", ['[Game "Chinese Chess"]\n\n', ""])
def test_notations(read, movetext, header):
    (game,) = read(header + movetext + "\n", "games.pgn" if header else "games.txt")
    assert moves_of(game) == PLAIN


def test_many_games_in_one_file(read):
    found = read(samples.pgn(), "games.pgn")
    assert [game.moves for game in found] == [game.moves for game in samples.games()]
    assert [game.result for game in found] == samples.RESULTS
    assert found[2].tags == {"red": "红方3", "black": "黑方3"}


def test_what_is_written_can_be_read(read):
    fen = "3k5/9/9/9/9/9/9/4B4/9/4K4 b - - 3 7"
    position = Position.from_fen(fen)
    moves = []
    for _ in range(5):
        moves.append(position.legal_moves()[-1])
        position.push(moves[-1])
    text = write_pgn(moves, result="0-1", start=fen, tags={"event": 'a "quoted" \\ name'})
    assert "7. ... " in text
    (game,) = read(text, "x.pgn")
    assert (game.moves, game.result, game.start, game.tags) == (moves, "0-1", fen, {"event": 'a "quoted" \\ name'})


@pytest.mark.parametrize(
    ("text", "ply", "said"),
    [
        (PGN.replace("车9平8", "车9平7"), 4, "`车9平7` is illegal: g9 holds Black's elephant"),
        (PGN.replace("车9平8", "车9退1"), 4, "cannot move like that"),
        (PGN.replace("车9平8", "车十平8"), 4, "`车十` names no piece"),
        ('[FEN "9/9/9/9/9/9/9/9/9/4K4 w"]\n1. 帅五进一\n', 0, "FEN: Black has no king"),
        ('[Event "nothing"]\n\n*\n', 0, "no moves"),
        ('[Event "open"]\n\n1. 炮二平五 {and so on\n', 0, "a comment that begins with { does not end"),
        ('[FEN "3k5/2P6/9/9/9/9/9/9/9/4K4 b"]\n1. ... 将4进1\n', 1, "the game is over: Black has no move left"),
    ],
)
def test_rejected_games(read, text, ply, said):
    (game,) = read(text, "games.pgn")
    assert (game.number, game.ply) == (1, ply)
    assert said in game.reason


def test_the_place_of_a_rejected_game(read, tmp_path):
    lines = samples.pgn().replace("相三进五", "相三进四")
    *good, bad = read(lines, "games.pgn")
    assert all(isinstance(game, Game) for game in good)
    line = lines[: lines.index("红方6")].count("\n")
    assert str(bad).startswith(f"{tmp_path / 'games.pgn'}: game 6 (line {line}), ply 1: `相三进四`")


def test_an_unclosed_comment_costs_one_game_only(read):
    found = read(PGN.replace("常见的}", "常见的") + "\n" + PGN, "games.pgn")
    assert [type(game) for game in found] == [Rejected, Game]


def test_rows_of_the_first_published_model(read):
    joined = PLAIN.replace(" ", "")
    rows = [
        {"iccs": joined, "fen": "", "items": {"棋局结果": "2", "红方": "甲"}},
        {"iccs": joined, "fen": "", "items": {"棋局结果": 0}},
        {"iccs": joined.upper(), "items": {"棋局结果": "1"}},
        {"iccs": joined, "items": {"棋局结果": "-1"}},
        {"iccs": joined},
    ]
    found = read("".join(json.dumps(row) + "\n" for row in rows), "games.jsonl")
    assert [moves_of(game) for game in found] == [PLAIN] * 5
    assert [game.result for game in found] == ["1-0", "0-1", "1/2-1/2", "*", "*"]
    assert found[0].tags == {"red": "甲"}


def test_bad_rows(read):
    rows = ['{"moves": "h2e2"}', '{"moves": ', "[1]", '{"moves": 3}', '{"moves": "h2e2 h2e3"}']
    good, *bad = read("\n".join(rows) + "\n", "games.jsonl")
    assert moves_of(good) == "h2e2"
    assert [game.line for game in bad] == [2, 3, 4, 5]
    said = ["not JSON", "no moves under", "no moves under", "there is no piece on h2"]
    assert all(part in game.reason for part, game in zip(said, bad, strict=False))


def test_our_own_rows_go_both_ways(tmp_path, read):
    fen = "3k5/9/9/9/9/9/9/9/9/R3K4 w"
    games = [*samples.games(), Game(Position.from_fen(fen).legal_moves()[:1], "*", fen)]
    assert write_games(tmp_path / "out.jsonl", games) == 7
    assert list(read_games(tmp_path / "out.jsonl")) == games
    packed = gzip.compress((tmp_path / "out.jsonl").read_bytes())
    assert read(packed, "out.jsonl.gz") == games
    with pytest.raises(InputError, match="compressed data is broken"):
        read(packed[:-20], "cut.jsonl.gz")


def test_plain_lists(read):
    text = f"# two games\n{PLAIN} 红胜\n\n{PLAIN.replace(' ', '')}\nposition startpos moves h2e2\n"
    first, second, third = read(text)
    assert (moves_of(first), first.result) == (PLAIN, "1-0")
    assert (moves_of(second), second.result) == (PLAIN, "*")
    assert moves_of(third) == "h2e2"


def test_plain_lists_with_numbers_go_on_over_lines(read):
    found = read("1. 炮二平五 马8进7\n2. 马二进三\n1. 相三进五 炮8平4\n")
    assert [moves_of(game) for game in found] == ["h2e2 h9g7 h0g2", "g0e2 h7d7"]


def test_plain_lists_from_a_position(read):
    (game,) = read("fen 3k5/9/9/9/9/9/9/9/9/R3K4 w - - 0 1 moves a0a9 d9d8\n")
    assert (moves_of(game), game.start) == ("a0a9 d9d8", "3k5/9/9/9/9/9/9/9/9/R3K4 w - - 0 1")


def dhtmlxq(moves: str, **fields: str) -> str:
    digits = "".join(f"{'abcdefghi'.index(m[i])}{9 - int(m[i + 1])}" for m in moves.split() for i in (0, 2))
    body = "".join(f"[DhtmlXQ_{name}]{value}[/DhtmlXQ_{name}]\n" for name, value in fields.items())
    return f"<p>棋谱</p>\n[DhtmlXQ]\n{body}[DhtmlXQ_movelist]{digits}[/DhtmlXQ_movelist]\n[/DhtmlXQ]\n"


USUAL = "8979695949392919097717866646260600102030405060708012720323436383"


def test_dhtmlxq(read):
    fields = {"title": "试手", "red": "甲", "result": "红胜", "binit": USUAL, "move_0_1_1": "7747"}
    assert "7747" in dhtmlxq("h2e2")
    text = dhtmlxq(PLAIN, **fields) + dhtmlxq("g0e2 h7d7")
    first, second = read(text.encode("gb18030"), "page.html")
    assert (moves_of(first), first.result, first.start) == (PLAIN, "1-0", None)
    assert first.tags == {"event": "试手", "red": "甲"}
    assert moves_of(second) == "g0e2 h7d7"


def test_dhtmlxq_from_a_position(read):
    # Red: a rook on a0 and the king on e0; Black: the king on d9, to move.
    gone = ["99"] * 32
    gone[0], gone[4], gone[16 + 4] = "09", "49", "30"
    (game,) = read(dhtmlxq("d9d8 a0a8", binit="".join(gone)))
    assert game.start.startswith("3k5/9/9/9/9/9/9/9/9/R3K4 b")
    assert moves_of(game) == "d9d8 a0a8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[DhtmlXQ_movelist]77479[/DhtmlXQ_movelist]", "movelist at move 2"),
        ("[DhtmlXQ_movelist]77x7[/DhtmlXQ_movelist]", "movelist at move 1"),
        ("[DhtmlXQ_movelist]7997[/DhtmlXQ_movelist]", "movelist at move 1"),
        ("[DhtmlXQ_binit]1234[/DhtmlXQ_binit]\n[DhtmlXQ_movelist]7747[/DhtmlXQ_movelist]", "the binit"),
        ("[DhtmlXQ_movelist][/DhtmlXQ_movelist]", "no moves"),
        ("[DhtmlXQ_movelist]4445[/DhtmlXQ_movelist]", "there is no piece on e5"),
    ],
)
def test_bad_dhtmlxq(read, text, said):
    (game,) = read(text)
    assert said in game.reason


def test_a_mate_decides_and_ends_the_game(read):
    fen = "4k4/9/9/9/9/9/9/9/R8/1R1K5 w"
    rows = '[FEN "{}"]\n[Result "0-1"]\n\n1. a1a8 e9f9 2. b0b9\n'
    (game,) = read(rows.format(fen), "x.pgn")
    assert (game.result, len(game.moves)) == ("1-0", 3)
    (after,) = read(rows.format(fen) + "f9f8\n", "x.pgn")
    assert (after.ply, after.reason) == (4, "`f9f8` is illegal: the game is over: Black is mated")


def test_the_usual_start_needs_no_fen(read):
    (game,) = read(f'[FEN "{START}"]\n\n1. 炮二平五\n', "x.pgn")
    assert game.start is None


def test_an_empty_file(read):
    assert read("") == []


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        list(read_games(tmp_path / "none.pgn"))


def test_chinese_movetext_is_what_the_position_says():
    position = Position()
    for move in samples.games()[0].moves:
        assert chinese(position, move) in samples.pgn()
        position.push(move)


@pytest.mark.parametrize("name", ["x.pgn", "x.jsonl", "x.html", "x.txt"])
def test_damaged_files_give_games_or_reasons(read, name):
    """Whatever is cut out, doubled or overwritten: every game is legal or rejected, and nothing else happens."""
    chance = random.Random(name)
    whole = {
        "x.pgn": PGN + samples.pgn(),
        "x.jsonl": "".join(json.dumps(game.row(), ensure_ascii=False) + "\n" for game in samples.games()),
        "x.html": dhtmlxq(PLAIN, title="试手", binit=USUAL) * 3,
        "x.txt": f"{PLAIN}\nfen 3k5/9/9/9/9/9/9/9/9/R3K4 w - - 0 1 moves a0a9 d9d8\n炮二平五 马8进7 和棋\n",
    }[name].encode(chance.choice(["utf-8", "gb18030"]))
    for _ in range(150):
        raw = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(raw))
            raw[at : at + chance.randrange(12)] = chance.randbytes(chance.randrange(8))
        for game in read(bytes(raw), name):
            if isinstance(game, Rejected):
                assert game.reason
                assert "\n" not in game.reason
                continue
            position = Position.from_fen(game.start or START)
            for move in game.moves:
                assert position.is_legal(move)
                position.push(move)


def test_tags_may_share_a_line(read):
    tags = '[Game "Chinese Chess"] [Red "甲"] [Black "乙 \\"小\\""] [Result "1-0"]'
    one = f"{tags}\n\n1. 炮二平五 马8进7\n2. 马二进三 1-0\n"
    (game,) = read(one, "one.pgn")
    assert moves_of(game) == "h2e2 h9g7 h0g2"
    assert (game.result, game.tags["red"], game.tags["black"]) == ("1-0", "甲", '乙 "小"')
    assert [moves_of(game) for game in read(one + "\n" + one, "two.pgn")] == ["h2e2 h9g7 h0g2"] * 2


@pytest.mark.parametrize("row", ["炮" * 100_000, '["' + "h2e2" * 50_000 + '"]'])
def test_a_long_move_is_shown_shortened(read, row):
    (game,) = read(row, "one.txt")
    assert isinstance(game, Rejected)
    assert len(game.reason) < 200


@pytest.mark.parametrize("fen", [5, ["3k5/9/9/9/9/9/9/9/9/R3K4 w"], {}, False])
def test_a_fen_that_is_no_text_is_a_fault(fen):
    """Read without it, the game would begin at the usual start."""
    (record,) = read_json_lines([json.dumps({"moves": "h2e2 h9g7", "fen": fen})])
    assert record.fault == "the row's `fen` is not a text"


@pytest.mark.parametrize("fen", [None, "", " "])
def test_no_fen_is_the_usual_start(fen):
    (record,) = read_json_lines([json.dumps({"moves": "h2e2 h9g7", "fen": fen})])
    assert (record.fault, record.start) == (None, None)


def _from_one(text: str) -> str:
    """The same moves with ranks from 1 to 10, as UCI's clients write them."""
    return re.sub(r"(?<=[a-i])\d", lambda rank: str(int(rank.group()) + 1), text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (_from_one(PLAIN), "games.txt"),
        (_from_one(PLAIN).upper() + " 1-0", "games.txt"),
        (re.sub(r"(\d)(?=[a-i])", r"\1-", _from_one(PLAIN)), "games.txt"),
        (json.dumps({"moves": _from_one(PLAIN)}), "games.jsonl"),
        (f'[Event "x"]\n\n1. {_from_one(PLAIN)}', "games.pgn"),
        ("h3e3 h10g8 h1g3", "games.txt"),
    ],
)
def test_ranks_from_one_to_ten(read, text, name):
    (game,) = read(text, name)
    assert PLAIN.startswith(moves_of(game))


def test_ranks_from_zero_stay_and_what_is_illegal_both_ways_is_named(read):
    good, bad, late, mixed = read(f"{PLAIN}\nh3e4\nh3e3 h10g8 a4a6\nh3e3 炮8平5")
    assert moves_of(good) == PLAIN
    assert isinstance(bad, Rejected)
    assert (bad.ply, "h3e4" in bad.reason) == (1, True)
    assert isinstance(late, Rejected)
    assert (late.ply, "`a4a6` is illegal" in late.reason) == (3, True)
    assert isinstance(mixed, Rejected)


def test_moves_of_a_position_may_count_from_one_too():
    from nlpx.jobs.chess_lm.best import read_game

    assert read_game("h3e3 h10g8").history == read_game("h2e2 h9g7").history
    with pytest.raises(InputError, match="ply 3: a4a6 is illegal"):
        read_game("h3e3 h10g8 a4a6")
