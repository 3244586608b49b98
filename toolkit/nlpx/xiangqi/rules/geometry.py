"""Where pieces may go on an empty board, worked out once: rays, steps, legs, eyes, and what lies between.

Tables are indexed by square, those of one colour by colour first.
"""

from __future__ import annotations

from nlpx.xiangqi.rules.pieces import (
    ADVISOR,
    BLACK,
    CANNON,
    ELEPHANT,
    KING,
    KNIGHT,
    NUM_FILES,
    NUM_RANKS,
    NUM_SQUARES,
    PAWN,
    RED,
    ROOK,
    piece_of,
)

Squares = tuple[int, ...]
Steps = tuple[tuple[int, int], ...]  # (the square that must be empty, the target)

STRAIGHT = ((1, 0), (-1, 0), (0, 1), (0, -1))  # as (ranks, files)
DIAGONAL = ((1, 1), (1, -1), (-1, 1), (-1, -1))
FORWARD = (1, -1)
PALACE_FILES = range(3, 6)
PALACE_RANKS = (range(3), range(7, 10))
HALF_RANKS = (range(5), range(5, 10))


def in_palace(square: int, color: int) -> bool:
    """Whether a square lies in the palace of this colour."""
    rank, file = divmod(square, NUM_FILES)
    return rank in PALACE_RANKS[color] and file in PALACE_FILES


def in_own_half(square: int, color: int) -> bool:
    """Whether a square lies on this colour's side of the river."""
    return square // NUM_FILES in HALF_RANKS[color]


def _moved(square: int, ranks: int, files: int) -> int | None:
    rank, file = square // NUM_FILES + ranks, square % NUM_FILES + files
    inside = 0 <= rank < NUM_RANKS and 0 <= file < NUM_FILES
    return rank * NUM_FILES + file if inside else None


def _ray(square: int, ranks: int, files: int) -> Squares:
    following = _moved(square, ranks, files)
    return () if following is None else (following, *_ray(following, ranks, files))


def _steps(square: int, directions: tuple[tuple[int, int], ...]) -> Squares:
    targets = (_moved(square, *direction) for direction in directions)
    return tuple(target for target in targets if target is not None)


def _palace_steps(color: int, directions: tuple[tuple[int, int], ...]) -> tuple[Squares, ...]:
    return tuple(
        tuple(target for target in _steps(square, directions) if in_palace(target, color))
        if in_palace(square, color)
        else ()
        for square in range(NUM_SQUARES)
    )


def _pawn_steps(square: int, color: int) -> Squares:
    sideways = () if in_own_half(square, color) else ((0, 1), (0, -1))
    return _steps(square, ((FORWARD[color], 0), *sideways))


def _elephant_steps(square: int) -> Steps:
    found = []
    for ranks, files in DIAGONAL:
        eye, target = _moved(square, ranks, files), _moved(square, 2 * ranks, 2 * files)
        if eye is not None and target is not None and in_own_half(target, RED) == in_own_half(square, RED):
            found.append((eye, target))
    return tuple(found)


def _knight_steps(square: int) -> Steps:
    found = []
    for ranks, files in STRAIGHT:
        leg = _moved(square, ranks, files)
        for sideways in (1, -1):
            target = _moved(square, 2 * ranks or sideways, 2 * files or sideways)
            if leg is not None and target is not None:
                found.append((leg, target))
    return tuple(found)


def _knight_attackers(square: int) -> Steps:
    """(leg, origin) of the knights that could take on `square`: the leg is beside the knight, not beside its prey."""
    return tuple(
        (leg, origin) for origin in range(NUM_SQUARES) for leg, target in KNIGHT_STEPS[origin] if target == square
    )


RAYS = tuple(tuple(ray for direction in STRAIGHT if (ray := _ray(square, *direction))) for square in range(NUM_SQUARES))
KNIGHT_STEPS = tuple(_knight_steps(square) for square in range(NUM_SQUARES))
ELEPHANT_STEPS = tuple(_elephant_steps(square) for square in range(NUM_SQUARES))
KING_STEPS = tuple(_palace_steps(color, STRAIGHT) for color in (RED, BLACK))
ADVISOR_STEPS = tuple(_palace_steps(color, DIAGONAL) for color in (RED, BLACK))
PAWN_STEPS = tuple(tuple(_pawn_steps(square, color) for square in range(NUM_SQUARES)) for color in (RED, BLACK))

KNIGHT_ATTACKERS = tuple(_knight_attackers(square) for square in range(NUM_SQUARES))
# PAWN_ATTACKERS[color][square]: where a pawn of the *other* colour would have to stand to take on `square`.
PAWN_ATTACKERS = tuple(
    tuple(
        tuple(origin for origin in range(NUM_SQUARES) if square in PAWN_STEPS[1 - color][origin])
        for square in range(NUM_SQUARES)
    )
    for color in (RED, BLACK)
)


def _free(steps: tuple[Squares, ...]) -> dict[int, Squares]:
    return {source * NUM_SQUARES + target: () for source in range(NUM_SQUARES) for target in steps[source]}


def _blocked_by_one(steps: tuple[Steps, ...]) -> dict[int, Squares]:
    return {source * NUM_SQUARES + target: (stop,) for source in range(NUM_SQUARES) for stop, target in steps[source]}


def _straight() -> dict[int, Squares]:
    return {
        source * NUM_SQUARES + target: ray[:distance]
        for source in range(NUM_SQUARES)
        for ray in RAYS[source]
        for distance, target in enumerate(ray)
    }


def _paths() -> tuple[dict[int, Squares], ...]:
    knight, elephant, straight = _blocked_by_one(KNIGHT_STEPS), _blocked_by_one(ELEPHANT_STEPS), _straight()
    paths: list[dict[int, Squares]] = [{}] * 15
    for color in (RED, BLACK):
        own = {KNIGHT: knight, ROOK: straight, CANNON: straight}
        own[ELEPHANT] = {move: eye for move, eye in elephant.items() if in_own_half(move // NUM_SQUARES, color)}
        own |= {KING: _free(KING_STEPS[color]), ADVISOR: _free(ADVISOR_STEPS[color]), PAWN: _free(PAWN_STEPS[color])}
        for kind, moves in own.items():
            paths[piece_of(kind, color)] = moves
    return tuple(paths)


# PATHS[piece][move]: the squares a piece passes or is blocked on; moves of another shape are not in it. All of them
# must be empty, but for a cannon that captures, which needs exactly one screen.
PATHS = _paths()

# The squares on which anything about attacks on a king can change: its own, its lines, and legs and origins of knights
# around it. Pawns attack along its lines.
AROUND_KING = tuple(
    frozenset(
        [square, *(to for ray in RAYS[square] for to in ray), *(s for step in KNIGHT_ATTACKERS[square] for s in step)]
    )
    for square in range(NUM_SQUARES)
)
