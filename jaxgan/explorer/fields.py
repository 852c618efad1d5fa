"""Checks of single values that a page sends; each error names the value and what is taken."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxgan.errors import UserError, shown


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise UserError(f"{name} is no object")
    return value


def several(value: Any, name: str, most: int, least: int = 0) -> Sequence[Any]:
    """A list of some length."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise UserError(f"{name}: give a list of {f'{least} to {most}' if least else f'{most} at most'}")
    return value


def numbers(value: Any, name: str, count: int) -> Sequence[Any]:
    """A list of so many."""
    if not isinstance(value, list) or len(value) != count:
        raise UserError(f"{name}: give {count} numbers")
    return value


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number within limits."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{name}={shown(value)}: give a whole number from {low} to {high}")
    return value


def real(value: Any, name: str, low: float, high: float) -> float:
    """A number within limits."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{name}={shown(value)}: give a number from {low:g} to {high:g}")
    return float(value)


def flag(value: Any, name: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UserError(f"{name}={shown(value)}: give true or false")
    return value


def choice(value: Any, name: str, known: tuple[str, ...]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{name}={shown(value)}: give one of {', '.join(known)}")
    return value
