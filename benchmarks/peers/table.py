"""What the starts of all rows come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from start import APART, KERAS, OURS, Row

from hpcdl.analysis.stats import median, median_interval

Samples = dict[str, list[dict[str, Any]]]
NO_PEERS = (*OURS, APART)


def best(samples: Samples) -> str | None:
    """The fastest of hpcdl; None where there is none yet."""
    own = [name for name in OURS if samples.get(name)]
    return max(own, key=lambda name: median(of(samples[name], "images_per_s")), default=None)


def of(starts: Sequence[dict[str, Any]], what: str) -> list[float]:
    """One figure of each start."""
    return [each[what] for each in starts]


def ratio(ours: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], what: str) -> str:
    """Median of the ratios within a turn, with its 95 % interval where there are several turns."""
    theirs = {each["turn"]: each[what] for each in other}
    pairs = [each[what] / theirs[each["turn"]] for each in ours if each["turn"] in theirs]
    if not pairs:
        return ""
    found = median_interval(pairs)
    return f"{found.median:.2f}" + (f" [{found.low:.2f}, {found.high:.2f}]" if len(pairs) > 1 else "")


def _more_accurate(ours: Sequence[dict[str, Any]], keras: Sequence[dict[str, Any]]) -> str:
    """Test accuracy beyond plain Keras's: the median of all pairs of starts, and their range."""
    pairs = [(one["accuracy"], two["accuracy"]) for one, two in product(ours, keras)]
    found = [one - two for one, two in pairs if None not in (one, two)]
    return f"{median(found):+.4f} ({min(found):+.4f} to {max(found):+.4f})" if found else ""


def against_all(rows: Sequence[tuple[Row, Samples]]) -> Iterator[str]:
    """Markdown: every peer of every row, the fastest first."""
    yield "| work | images | ranks | precision | | images/s | hpcdl over it | starts | mean loss | test accuracy |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row, samples in rows:
        own = best(samples)
        if own is None:
            continue
        rates = {name: median(of(starts, "images_per_s")) for name, starts in samples.items() if starts}
        for name in sorted(rates, key=lambda name: -rates[name]):
            starts = samples[name]
            told = "" if name == own else ratio(samples[own], starts, "images_per_s")
            head = f"| {row.work} | {row.input} | {row.ranks} | {row.precision}"
            who = f"**{name}**" if name in OURS else name
            loss = median(of(starts, "loss"))
            known = [each for each in of(starts, "accuracy") if each is not None]
            accuracy = f"{median(known):.4f}" if known else ""
            yield f"{head} | {who} | {rates[name]:,.4g} | {told} | {len(starts)} | {loss:.3f} | {accuracy} |"


def summary(rows: Sequence[tuple[Row, Samples]]) -> Iterator[str]:
    """Markdown: hpcdl's better engine over the best peer, over the limit, and over plain Keras."""
    yield (
        "| work | images | ranks | precision | hpcdl | best peer | over it | over the limit "
        "| memory over Keras's | first step over Keras's | accuracy less Keras's |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for row, samples in rows:
        own = best(samples)
        peers = [name for name in samples if samples[name] and name not in NO_PEERS]
        if own is None or not peers:
            continue
        other = max(peers, key=lambda name: median(of(samples[name], "images_per_s")))
        ours = samples[own]
        keras = samples.get(KERAS) or []
        yield " | ".join(
            [
                f"| {row.work} | {row.input} | {row.ranks} | {row.precision}",
                "" if own == "hpcdl, mpi" and row.ranks == 1 else own.removeprefix("hpcdl, "),
                other,
                ratio(ours, samples[other], "images_per_s"),
                ratio(ours, samples[APART], "images_per_s") if samples.get(APART) else "",
                ratio(ours, keras, "memory") if keras else "",
                ratio(ours, keras, "first_step_seconds") if keras else "",
                f"{_more_accurate(ours, keras)} |",
            ]
        )
