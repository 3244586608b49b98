"""A second generator of Xiangqi moves, for comparison: no tables, no shortcuts, written from the rules alone.

A board is a dictionary of (file, rank) to FEN letter. Whether a king can be taken is found by generating every move of
the other side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

Square = tuple[int, int]
Board = dict[Square, str]


def read(fen: str) -> tuple[Board, bool]:
    """The board of a FEN, and whether Red is to move."""
    rows, turn = fen.split()[:2]
    board = {}
    for number, row in enumerate(rows.split("/")):
        file = 0
        for letter in row:
            if letter.isdigit():
                file += int(letter)
            else:
                board[file, 9 - number] = letter
                file += 1
    return board, turn == "w"


def legal_moves(board: Board, red: bool) -> set[str]:
    """All legal moves as ICCS."""
    return {
        f"{'abcdefghi'[x]}{y}{'abcdefghi'[u]}{v}"
        for (x, y), (u, v) in moves(board, red)
        if not in_check(after(board, (x, y), (u, v)), red)
    }


def after(board: Board, source: Square, target: Square) -> Board:
    """The board after a move."""
    changed = dict(board)
    changed[target] = changed.pop(source)
    return changed


def in_check(board: Board, red: bool) -> bool:
    """Whether this side's king can be taken, or faces the other one."""
    king = next(square for square, letter in board.items() if letter == ("K" if red else "k"))
    other = next(square for square, letter in board.items() if letter == ("k" if red else "K"))
    if king[0] == other[0]:
        low, high = sorted((king[1], other[1]))
        if not any((king[0], rank) in board for rank in range(low + 1, high)):
            return True
    return any(target == king for _, target in moves(board, not red))


def moves(board: Board, red: bool) -> Iterator[tuple[Square, Square]]:
    """Every move of a side that the way its pieces go allows."""
    for square, letter in board.items():
        if letter.isupper() == red:
            for target in targets(board, square, letter):
                there = board.get(target)
                if there is None or there.isupper() != red:
                    yield square, target


def targets(board: Board, square: Square, letter: str) -> Iterator[Square]:
    """Where one piece may go, own pieces not yet considered but as obstacles."""
    x, y = square
    red = letter.isupper()
    match letter.upper():
        case "K":
            steps = [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
            yield from (step for step in steps if palace(step, red))
        case "A":
            steps = [(x + dx, y + dy) for dx in (1, -1) for dy in (1, -1)]
            yield from (step for step in steps if palace(step, red))
        case "B":
            for dx in (1, -1):
                for dy in (1, -1):
                    step = (x + 2 * dx, y + 2 * dy)
                    if inside(step) and (x + dx, y + dy) not in board and (step[1] <= 4) == red:
                        yield step
        case "N":
            for dx, dy in [(1, 2), (1, -2), (-1, 2), (-1, -2), (2, 1), (2, -1), (-2, 1), (-2, -1)]:
                leg = (x + int(dx / 2), y + int(dy / 2))
                if inside((x + dx, y + dy)) and leg not in board:
                    yield x + dx, y + dy
        case "P":
            crossed = y >= 5 if red else y <= 4
            steps = [(x, y + 1 if red else y - 1)] + ([(x + 1, y), (x - 1, y)] if crossed else [])
            yield from (step for step in steps if inside(step))
        case "R" | "C":
            yield from along_lines(board, square, cannon=letter.upper() == "C")


def along_lines(board: Board, square: Square, *, cannon: bool) -> Iterator[Square]:
    """Rooks until the first piece; cannons until before it, and onto the second."""
    for dx, dy in [(1, 0), (-1, 0), (0, 1), (0, -1)]:
        met = 0
        for distance in range(1, 10):
            step = (square[0] + distance * dx, square[1] + distance * dy)
            if not inside(step):
                break
            if step in board:
                met += 1
                if met == (2 if cannon else 1):
                    yield step
                    break
            elif met == 0:
                yield step


def inside(square: Square) -> bool:
    return 0 <= square[0] <= 8 and 0 <= square[1] <= 9


def palace(square: Square, red: bool) -> bool:
    return 3 <= square[0] <= 5 and (0 <= square[1] <= 2 if red else 7 <= square[1] <= 9)


def perft(board: Board, red: bool, depth: int) -> int:
    """The number of lines of legal moves of this depth; a board that several lines lead to is expanded once."""
    boards = Counter({frozenset(board.items()): 1})
    for ply in range(depth):
        following: Counter[frozenset[tuple[Square, str]]] = Counter()
        num_lines = 0
        for items, number in boards.items():
            found = legal_moves(dict(items), red == (ply % 2 == 0))
            num_lines += number * len(found)
            if ply < depth - 1:
                for move in found:
                    source, target = (("abcdefghi".index(move[at]), int(move[at + 1])) for at in (0, 2))
                    following[frozenset(after(dict(items), source, target).items())] += number
        boards = following
    return num_lines
