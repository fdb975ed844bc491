"""Exercises of chapter 08."""

from .engine import Exercise

EXERCISES: list[Exercise] = []
