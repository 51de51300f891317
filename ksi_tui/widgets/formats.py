"""How each kind of value is written, in one place per kind.

Durations, counts, money, rates and states look the same on every screen because
nothing else formats them. Only values go in; text from outside is `clean`'s. In ascii
mode the terminal filter (`terminal.AsciiFilter`) spells the glyphs, so nothing here asks.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ksi_tui.engine.states import AttentionKind, CircuitLook, Level, Phase
from ksi_tui.widgets.spans import Span, Tone

NOTHING = "–"
"""What stands where there is nothing to say."""


def age(seconds: float | None) -> str:
    """Return how long something has lasted: `2.9s 34s 4m12s 2h11m 6d4h`."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5) if seconds < 60 else int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    days = whole // 86400
    return f"{days}d{whole % 86400 // 3600}h" if days < 100 else f"{days}d"


def latency(milliseconds: float | None) -> str:
    """Return a latency given in milliseconds, written as an age; below 10 ms in `ms`."""
    if milliseconds is not None and milliseconds < 10:
        return f"{max(0.0, milliseconds):.0f}ms"
    return age(None if milliseconds is None else milliseconds / 1000)


def countdown(seconds: float | None) -> str:
    """Return what is left of a clock: `0:41`, `13:40`, `1:02:03`."""
    if seconds is None:
        return NOTHING
    whole = max(0, int(seconds + 0.999))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def count(number: float | None) -> str:
    """Return a count in at most five cells: `412 3.1k 402k 1.8M`."""
    if number is None:
        return NOTHING
    value = float(max(0, number))
    if value < 999.5:
        return f"{value:.0f}"
    for unit in ("k", "M", "G"):
        value /= 1000
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return f"{value / 1000:.0f}T"


def exact(number: int | None, *, estimated: bool = False) -> str:
    """Return a count with every digit, `2,310`, or `412 est.`."""
    if number is None:
        return NOTHING
    return f"{number:,} est." if estimated else f"{number:,}"


def rate(per_second: float | None) -> str:
    """Return a rate without its unit: `0 31 1.1k`."""
    if per_second is not None and 0 < per_second < 0.95:
        return f"{per_second:.1f}"
    return count(per_second)


def fine(per_second: float | None) -> str:
    """Return a small rate with the digits that count: `0.02 0.4 3 1.1k`."""
    if per_second is None or per_second >= 9.95 or per_second <= 0:
        return count(per_second)
    return f"{per_second:.2g}"


def percent(share: float | None) -> str:
    """Return a share of 0 to 1 as `71%`; what is not quite all or nothing never reads so."""
    if share is None:
        return NOTHING
    rounded = round(share * 100)
    if rounded == 100 and share < 1:
        rounded = 99
    if rounded == 0 and share > 0:
        rounded = 1
    return f"{rounded}%"


def money(dollars: float | None) -> str:
    """Return dollars: `$21.07`, small amounts with two digits that count, None `unpriced`."""
    if dollars is None:
        return "unpriced"
    if dollars >= 1000:
        return f"${dollars:,.0f}"
    if dollars >= 0.095 or dollars == 0:
        return f"${dollars:.2f}"
    digits = 3
    while digits < 7 and dollars < 0.95 * 10 ** (1 - digits):
        digits += 1
    return f"${dollars:.{digits}f}".rstrip("0")


def cost(dollars: float | None, unpriced: int = 0, *, word: str = "unpriced") -> str:
    """Return a sum of costs; with calls that have no price it is a lower bound and says so."""
    if dollars is None or (unpriced and not dollars):
        return "unpriced" if unpriced or dollars is None else money(0.0)
    return f"≥ {money(dollars)} ({unpriced} {word})" if unpriced else money(dollars)


def per_hour(dollars: float | None, *, unpriced: bool) -> str:
    """Return a provider's cost per hour without the sign: `2.95`; `unpr.` without a price."""
    if dollars is None:
        return "unpr." if unpriced else NOTHING
    return f"{dollars:.2f}" if dollars < 1000 else count(dollars)


def clock(at: float, *, tenths: bool = False) -> str:
    """Return a moment's UTC time of day, `03:12:44`, with `tenths` `03:12:44.1`."""
    moment = datetime.fromtimestamp(at, UTC)
    text = moment.strftime("%H:%M:%S")
    return f"{text}.{moment.microsecond // 100_000}" if tenths else text


PHASES: dict[Phase, Span] = {
    Phase.QUEUED: Span("·", Tone.DIM),
    Phase.WAITING: Span("○", Tone.WARN),
    Phase.RETRYING: Span("~", Tone.WARN),
    Phase.CONNECTING: Span("►", Tone.BUSY),
    Phase.FIRST_TOKEN: Span("►", Tone.BUSY),
    Phase.STREAMING: Span("►", Tone.OK),
    Phase.NO_TOKEN: Span("►", Tone.BAD),
    Phase.COMPLETED: Span("√", Tone.OK),
    Phase.FAILED: Span("!", Tone.BAD),
    Phase.CANCELLING: Span("×", Tone.WARN),
    Phase.CANCELLED: Span("×", Tone.DIM),
}
CIRCUITS: dict[CircuitLook, Span] = {
    CircuitLook.CLOSED: Span("●", Tone.OK),
    CircuitLook.HALF_OPEN: Span("▲", Tone.WARN),
    CircuitLook.OPEN: Span("■", Tone.BAD),
    CircuitLook.COOLING: Span("▼", Tone.WARN),
}
LEVELS: dict[Level, Span] = {
    Level.STARTING: Span("○", Tone.BUSY),
    Level.OK: Span("●", Tone.OK),
    Level.DEGRADED: Span("▲", Tone.WARN),
    Level.DOWN: Span("■", Tone.BAD),
    Level.PAUSED: Span("=", Tone.WARN),
    Level.READ_ONLY: Span("▲", Tone.BAD),
    Level.STOPPING: Span("○", Tone.WARN),
    Level.STALE: Span("▲", Tone.BAD),
}


PAUSED = Span("= paused", Tone.WARN)
"""The state of what a person holds."""


def phase(value: Phase) -> Span:
    """Return a phase as glyph, word and tone."""
    glyph = PHASES[value]
    return Span(f"{glyph.text} {value.value}", glyph.tone)


_KINDS: dict[AttentionKind, Span] = {
    AttentionKind.PAUSE: Span("=", Tone.WARN),
    AttentionKind.LOCK: Span("○", Tone.WARN),
    AttentionKind.WORKER: Span("!", Tone.BAD),
    AttentionKind.FAULT: Span("!", Tone.BAD),
}


def attention(kind: AttentionKind, look: Phase | CircuitLook | None) -> Span:
    """Return the glyph and tone of a row of Attention: its look's, else its kind's."""
    if isinstance(look, Phase):
        return PHASES[look]
    return CIRCUITS[look] if look is not None else _KINDS.get(kind, Span("○", Tone.WARN))


def circuit(value: CircuitLook) -> Span:
    """Return a circuit's state as glyph, word and tone."""
    glyph = CIRCUITS[value]
    return Span(f"{glyph.text} {value.value}", glyph.tone)


def verdict(value: Level) -> Span:
    """Return the verdict as glyph, word and tone."""
    glyph = LEVELS[value]
    return Span(f"{glyph.text} {value.value}", glyph.tone)


_BLOCKS = " ▁▂▃▄▅▆▇█"


def spark(values: tuple[int, ...], width: int) -> str:
    """Return the last `width` values as blocks from 0 to their highest; a quiet one is a blank."""
    shown = values[-width:]
    top = max(shown, default=0)
    if top <= 0:
        return " " * width
    blocks = "".join(
        _BLOCKS[0 if value <= 0 else max(1, round(value / top * 8))] for value in shown
    )
    return blocks.rjust(width)
