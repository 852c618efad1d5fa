"""Tables of what was measured, as they stand in docs/results."""

from typing import Any


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""

    def cell(value: Any) -> str:
        if isinstance(value, dict):
            return f"{value['median']:.4g} ({value['min']:.4g} to {value['max']:.4g})"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(cell(r[name]) for name in names)} |" for r in rows)])
