"""Exercises of chapter 09."""

from .engine import Exercise

EXERCISES: list[Exercise] = []
