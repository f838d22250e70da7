"""Which Debian mirror a machine uses, from its apt's own configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

DEBIAN = ("bullseye", "bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable")


def debian_mirror(sources: Sequence[str]) -> str | None:
    """The first mirror of Debian's main archive that apt is told of.

    Args:
        sources: contents of /etc/apt/sources.list, *.list (lines) and *.sources (paragraphs of fields).

    Returns:
        Its URL, or None where apt knows none, as on other systems than Debian.
    """
    for text in sources:
        for kinds, addresses, suites, components in (*_paragraphs(text), *_lines(text)):
            debian = any(suite in DEBIAN for suite in suites)  # not bookworm-security, nor another maker's own
            if "deb" in kinds and debian and "main" in components:
                for address in addresses:
                    if address.startswith(("http://", "https://")) and address.rstrip("/").endswith("debian"):
                        return address.rstrip("/")
    return None


Entry = tuple[list[str], list[str], list[str], list[str]]


def _lines(text: str) -> Iterator[Entry]:
    """deb [options] ADDRESS SUITE COMPONENT …"""
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words[:1] != ["deb"]:
            continue
        if len(words) > 1 and words[1].startswith("["):
            end = next((place for place, word in enumerate(words) if word.endswith("]")), len(words))
            words = ["deb", *words[end + 1 :]]
        if len(words) >= 4:
            yield ["deb"], [words[1]], [words[2]], words[3:]


def _paragraphs(text: str) -> Iterator[Entry]:
    """Fields, continued by lines that begin with a space; an empty line ends an entry."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in kept.split("\n\n"):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in paragraph.splitlines():
            if not line.startswith((" ", "\t")):
                name, colon, line = line.partition(":")
                name = name.strip().lower() if colon else ""
            fields.setdefault(name, []).extend(line.split())
        if fields.get("enabled", ["yes"])[:1] != ["no"] and "uris" in fields:
            yield (fields.get("types", []), fields["uris"], fields.get("suites", []), fields.get("components", []))
