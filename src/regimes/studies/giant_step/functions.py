"""Targets and activations by name: the one table of the giant-step study.

A target is a function of its teacher projections ``z1, z2, ...`` (its number
of arguments is the number of teacher directions); an activation is a pair
``(value, derivative)``. Every entry is written in plain arithmetic, so the same
line serves numpy arrays in the theory and torch tensors in training. To add
one, add a line: Hermite coefficients, leap index, staircase subspaces and error
floors are computed from it (`regimes.studies.giant_step.theory`).

Only the entries that a setting names count towards the code fingerprint of a
run, so a new line retrains nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from math import sqrt


def hermite_2(x):
    """Second probabilists' Hermite polynomial, E[He2(g)^2] = 2."""
    return x**2 - 1


def hermite_3(x):
    """Third probabilists' Hermite polynomial, E[He3(g)^2] = 6."""
    return x**3 - 3 * x


def hermite_4(x):
    """Fourth probabilists' Hermite polynomial, E[He4(g)^2] = 24."""
    return x**4 - 6 * x**2 + 3


def hermite_1_2_4(x):
    """Sum He1 + He2/2 + He4/24 of the official notebook's ``hermite1+2+4`` teacher."""
    return x + hermite_2(x) / 2 + hermite_4(x) / 24


TARGETS: dict[str, Callable] = {
    "he124": lambda z1, z2: (hermite_1_2_4(z1) + hermite_1_2_4(z2)) / 2,
    "minus": lambda z1, z2: (z1 + z1**2 + z2 - z2**2) / 2,
    "plus": lambda z1, z2: (z1 + z1**2 + z2 + z2**2 - 2) / 2,
    "A": lambda z1: z1 + hermite_2(z1) / sqrt(2),
    "B": lambda z1, z2: z1 + hermite_2(z2) / sqrt(2),
    "example1": lambda z1, z2: (4 * z1 + z1**2 + z2) / 2,
    "he2_pair": lambda z1, z2: (hermite_2(z1) + hermite_2(z2)) / 2,
    "z1_z1z2": lambda z1, z2: z1 + z1 * z2,
    "z1_z2z3": lambda z1, z2, z3: z1 + z2 * z3,
    "chain": lambda z1, z2, z3: z1 + z1 * z2 + z2 * z3,
    "product": lambda z1, z2, z3: z1 + z1 * z2 + z1 * z2 * z3,
    "he1": lambda z1: z1,
    "he2": lambda z1: hermite_2(z1) / sqrt(2),
    "he3": lambda z1: hermite_3(z1) / sqrt(6),
    "square": lambda z1: z1**2 - 1,
}

# sigma and sigma' with sigma'(0) = 0 for ReLU, as in the official notebooks.
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "relu": (lambda h: h * (h > 0), lambda h: h > 0),
    "cubic": (lambda h: h / 2 + h**2 / 2 + h**3 / 6, lambda h: 1 + h + (h**2 - 1) / 2),
}


def directions(target: str) -> int:
    """Number of teacher directions r of a named target."""
    return len(inspect.signature(TARGETS[target]).parameters)
