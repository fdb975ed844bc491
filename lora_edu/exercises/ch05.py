"""Exercises of chapter 05."""

from .engine import Exercise

EXERCISES: list[Exercise] = []
