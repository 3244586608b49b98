"""Playing without a terminal: a session with a person, and the protocols of chess programs."""

from __future__ import annotations

import pytest

import xiangqi_games
from nlpx.xiangqi.formats.games import check_record
from nlpx.xiangqi.formats.notation import parse_iccs
from nlpx.xiangqi.formats.pgn import read_pgn
from nlpx.xiangqi.play.choose import MoveChoice
from nlpx.xiangqi.play.session import Session, Setting
from nlpx.xiangqi.play.uci import Engine
from nlpx.xiangqi.rules.pieces import BLACK

MODEL = xiangqi_games.model_of("moves")
MATE_IN_ONE = "4k4/R8/9/9/9/9/9/9/8R/3K5 w"


def texts(session: Session, *lines: str) -> list[str]:
    return [event.text for line in lines for event in session.answer(line)]


def started(**choices: object) -> Session:
    session = Session(MODEL, Setting(**choices))
    list(session.begin())
    return session


@pytest.mark.parametrize("line", ["h2e2", "H2-E2", "炮二平五", "  h2e2\n"])
def test_moves_are_read_in_every_notation(line):
    session = started()
    events = list(session.answer(line))
    assert session.position.history[0] == parse_iccs("h2e2")
    assert len(session.position.history) == 2
    assert events[0].text == "Red: 炮二平五 h2e2"
    reply = events[1]
    assert reply.row["by"] == "model"
    assert reply.value == reply.row["move"]
    assert len(reply.row["candidates"]) == 3
    assert reply.row["candidates"][0]["move"] == reply.row["move"]
    assert "[" in events[2].text
    assert "楚  河" in events[2].text


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("h2h9x", "no move"),
        ("h2h8", "cannot jump over h7"),
        ("e9e8", "it is Black's|Red is to move"),
        ("炮五平六", ""),
        ("nonsense", ""),
    ],
)
def test_a_mistake_is_explained_and_changes_nothing(line, why):
    session = started()
    (event,) = session.answer(line)
    assert "error" in event.row
    assert not why or any(part in event.text for part in why.split("|")), event.text
    assert session.position.history == []


def test_a_person_may_have_black():
    session = Session(MODEL, Setting(people=(BLACK,)))
    first = list(session.begin())
    assert session.position.turn == BLACK
    assert len(session.position.history) == 1
    assert first[0].text.splitlines()[1].startswith("0")  # the own side is below
    texts(session, "h9g7")
    assert len(session.position.history) == 3
    texts(session, "back")
    assert len(session.position.history) == 1
    assert "no move of yours" in texts(session, "back")[0]


def test_taking_back_begins_where_the_person_chose():
    session = started()
    texts(session, "h2e2", "b0c2")
    again = session.position.history[:2]
    texts(session, "悔棋")
    assert session.position.history == again
    texts(session, "undo", "c3c4")
    assert session.position.history[0] == parse_iccs("c3c4")


def test_resigning_and_beginning_again():
    session = started()
    assert texts(session, "resign") == ["0-1: Black wins, resignation"]
    assert "the game is over" in texts(session, "h2e2")[0]
    assert session.result == "0-1"
    texts(session, "new")
    assert (session.ended, session.position.history, session.result) == (None, [], "*")


def test_a_mate_ends_the_game():
    session = started(fen=MATE_IN_ONE)
    last = texts(session, "i1i9")
    assert last[-1] == "1-0: Red wins, checkmate"
    assert "九" in last[-2]  # the board with the mate on it
    assert session.result == "1-0"
    texts(session, "back")
    assert session.ended is None


def test_a_game_that_is_over_before_it_begins():
    session = Session(MODEL, Setting(fen="R2k5/1R7/9/9/9/9/9/9/9/4K4 b", people=(BLACK,)))
    assert [event.text for event in session.begin()][-1] == "1-0: Red wins, checkmate"


def test_a_model_plays_both_sides_to_the_end():
    session = Session(MODEL, Setting(people=(), how=MoveChoice(temperature=1.0), max_plies=30))
    events = list(session.begin())
    assert "result" in events[-1].row
    assert sum("move" in event.row for event in events) == len(session.position.history)


def test_a_saved_game_is_read_again(tmp_path):
    session = started()
    texts(session, "h2e2", "b0c2", "resign", f"save {tmp_path / 'game.pgn'}")
    written = (tmp_path / "game.pgn").read_text(encoding="utf-8")
    (record,) = read_pgn(written.splitlines(keepends=True))
    game = check_record(record, "game.pgn")
    assert (game.moves, game.result) == (session.position.history, "0-1")
    assert '[Red "person"]' in written
    assert '[Black "tiny-moves"]' in written
    assert "cannot be written" in texts(session, f"save {tmp_path}")[0]


def test_other_commands():
    session = started(top=2)
    assert texts(session, "fen")[0].startswith("rnbakabnr/9/1c5c1")
    assert texts(session, "moves")[0].count("%") == 2
    assert "back" in texts(session, "help")[0]
    assert texts(session, "flip")[0].splitlines()[1].startswith("0")
    assert texts(session, "") == []
    assert not session.is_over
    texts(session, "quit")
    assert session.is_over


# UCI and UCCI


class Client:
    """Sends lines and collects what comes back."""

    def __init__(self, how: MoveChoice | None = None) -> None:
        self.said: list[str] = []
        self.num_loaded = 0
        self.engine = Engine(self._load, how or MoveChoice(), self.said.append)

    def _load(self):
        self.num_loaded += 1
        return MODEL

    def send(self, *lines: str) -> list[str]:
        self.said.clear()
        for line in lines:
            assert self.engine.answer(line) == (line != "quit")
        return list(self.said)


def test_greetings():
    client = Client()
    uci = client.send("uci")
    assert uci[0].startswith("id name nlpx")
    assert uci[-1] == "uciok"
    assert "option name Temperature type spin default 0 min 0 max 500" in uci
    assert client.num_loaded == 0
    assert client.send("isready") == ["readyok"]
    assert client.num_loaded == 1
    ucci = client.send("ucci")
    assert ucci[-1] == "ucciok"
    assert "option Temperature type spin default 0 min 0 max 500" in ucci
    assert client.send("quit") == ["bye"]
    searching = Client(MoveChoice(search=2, temperature=0.5))
    assert {"option name Search type spin default 2 min 0 max 4",
            "option name Temperature type spin default 50 min 0 max 500"} <= set(searching.send("uci"))  # fmt: skip


def test_the_answer_is_the_likeliest_legal_move():
    client = Client()
    said = client.send("position startpos moves h2e2 h9g7", "go wtime 1000 btime 1000")
    session = started()
    for word in ("h2e2", "h9g7"):
        session.position.push(parse_iccs(word))
    best = session.reader.rank([session.position])[0].best(1)[0][0]
    assert client.engine.position.history == session.position.history
    assert said[-1] == f"bestmove {client.engine._write(best)}"
    assert said[0].startswith("info depth 1 score cp")


def test_forty_moves():
    client, moves = Client(MoveChoice(temperature=1.0)), []
    for _ in range(40):
        said = client.send(f"position startpos moves {' '.join(moves)}".removesuffix(" moves "), "go depth 3")
        word = said[-1].removeprefix("bestmove ")
        if word == "(none)":
            break
        moves.append(word)
    assert len(moves) == 40
    assert client.send("position startpos moves " + " ".join(moves)) == []
    assert client.num_loaded == 1


def test_ranks_counted_from_one_are_recognised():
    client = Client()
    assert client.send("position startpos moves h3e3 h10g8") == []
    assert [move // 90 // 9 for move in client.engine.position.history] == [2, 9]
    assert client.send("setoption name Ranks value from 0", "position startpos moves h2e2") == []
    answer = client.send("setoption name Ranks value from 1", "position startpos", "go")[-1]
    assert answer[len("bestmove a") :].split(answer[-2])[0][0] in "1234567"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "rubbish \x1b[31m 行棋 \ufffd",
        "position",
        "position nowhere",
        "position startpos moves h2e2 h2e2",
        "position startpos moves 炮二平五",
        "position fen 9/9/9 w",
        "position fen 4k4/9/9/9/9/9/9/9/9/4K4 w",
        "setoption",
        "setoption name Search value 99",
        "setoption name Search value -1",
        "setoption name Colour value red",
        "stop",
        "x" * 5000,
    ],
)
def test_rubbish_changes_nothing(line):
    client = Client()
    client.send("position startpos moves h2e2")
    for reply in client.send(line):
        assert reply.startswith("info string ")
        assert len(reply) <= 140
        assert reply.isprintable()
    assert client.engine.position.history == [parse_iccs("h2e2")]
    assert client.engine.how == MoveChoice()
    assert client.send("go")[-1].startswith("bestmove ")


def test_options_of_both_protocols():
    client = Client()
    client.send("setoption name Temperature value 150", "setoption Search 2")
    assert (client.engine.how.temperature, client.engine.how.search) == (1.5, 2)
    said = client.send("position fen " + MATE_IN_ONE, "go")
    assert said[0].startswith("info depth 2 score cp 100000")


def test_an_endless_search_answers_when_it_is_stopped():
    client = Client()
    assert not any(line.startswith("bestmove") for line in client.send("go infinite"))
    assert client.send("stop")[0].startswith("bestmove ")
    assert client.send("stop") == []


def test_banned_moves_and_mated_sides():
    client = Client()
    first = client.send("position startpos", "go")[-1].split()[1]
    assert client.send("position startpos", f"banmoves {first}", "go")[-1].split()[1] != first
    mated = "position fen R2k5/1R7/9/9/9/9/9/9/9/4K4 b"
    assert client.send(mated, "go") == ["bestmove (none)"]
    client.send("ucci")
    assert client.send(mated, "go") == ["nobestmove"]
