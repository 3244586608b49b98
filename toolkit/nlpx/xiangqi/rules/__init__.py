"""The rules of Chinese chess: board, moves, repetition and the end of a game."""
