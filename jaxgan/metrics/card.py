"""What is written beside every measured value, so that it can be trusted and repeated."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Card:
    """One value and where it comes from.

    Attributes:
        metric: its full name, such as "FD-lite0"; the short names of papers only where it is the same quantity.
        value: the number.
        better: "lower" or "higher".
        spread: standard deviation over `spread_over`, or None.
        spread_over: what the spread is taken over ("100 subsets of 1,000", "4 repeats of 128 directions").
        floor: the same quantity between disjoint sets of reals, or None.
        floor_counts: images in each of the two sets.
        of_reals: the same quantity of real images alone, for those that should come near it, or None.
        network: of the features, or None.
        weights: file name of its weights.
        weights_sha256: hash of that file.
        resize: how images got to the size that the network sees.
        conversion: how channels became RGB.
        precision: of the arithmetic.
        reals, fakes: images of each.
        data: name, split and fingerprint of the reals.
        model: whose generator, and after how many images.
        generator: which weights made the fakes, and how (truncation, noise, labels, arithmetic, device, batch).
        seed: of the latents.
        settings: whatever else the value depends on.
        warnings: reasons to distrust the value.
        version: of jaxgan.
    """

    metric: str
    value: float
    better: str
    spread: float | None = None
    spread_over: str | None = None
    floor: float | None = None
    floor_counts: tuple[int, int] | None = None
    of_reals: float | None = None
    network: str | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    resize: str | None = None
    conversion: str | None = None
    precision: str = "float32"
    reals: int = 0
    fakes: int = 0
    data: str | None = None
    model: str | None = None
    generator: str | None = None
    seed: int | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON, without what is not known."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v not in (None, (), {}, "")}

    def line(self) -> str:
        """The value on one line, with what changes its meaning."""
        spread = f" ± {_short(self.spread)}" if self.spread is not None else ""
        floor = f"  real against real {_short(self.floor)}" if self.floor is not None else ""
        reals = f"  of reals {_short(self.of_reals)}" if self.of_reals is not None else ""
        return f"{self.metric:26s} {_short(self.value)}{spread}{floor}{reals}"

    def details(self) -> str:
        """Everything else, a few words each."""
        counts = f"{self.fakes:,} fakes" + (f", {self.reals:,} reals" if self.reals else "")
        parts = [counts]
        if self.floor_counts:
            parts.append(f"floor of {self.floor_counts[0]:,} against {self.floor_counts[1]:,} other reals")
        if self.network:
            parts.append(f"{self.network} ({self.weights}, sha256 {self.weights_sha256[:12]})")
        for text in (self.resize and f"resize {self.resize}", self.conversion if self.conversion != "none" else None):
            parts += [text] if text else []
        parts += [f"spread over {self.spread_over}"] if self.spread_over else []
        parts += [f"{k} {v}" for k, v in self.settings.items()]
        parts += [self.precision, f"seed {self.seed}"]
        return ", ".join(parts)


def _short(value: float) -> str:
    return f"{value:.4g}"
