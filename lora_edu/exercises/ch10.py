"""Exercises of chapter 10."""

from .engine import Exercise

EXERCISES: list[Exercise] = []
