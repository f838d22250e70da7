"""Made networks: what is asked, the commands, and a machine that may not; the real ones are in tests/hosts."""

from __future__ import annotations

import os
import socket
from threading import Thread
from typing import Any, cast

import pytest
import typer

from hpcdl.cli.made import place
from hpcdl.errors import ConfigError
from hpcdl.launch import link, madenetwork
from hpcdl.launch.cables import cabling, limit, parse_rate
from hpcdl.launch.hosts import Here, Listed, record

CONTEXT = cast(typer.Context, None)
FREE: dict[str, Any] = {"oversubscribe": True, "dry_run": False}


def test_rates_are_bits_a_second() -> None:
    assert [parse_rate(text) for text in ("100mbit", "1Gbit", "2.5 gbit/s")] == [1e8, 1e9, 2.5e9]
    for text in ("", "1g", "100", "-1gbit", "0mbit", "1000gbit", "1e3mbit"):
        with pytest.raises(ConfigError, match="--made-rate"):
            parse_rate(text)


def test_each_host_has_a_link_that_is_limited_in_both_directions() -> None:
    argv = cabling({"a": 11, "b": 12, "c": 13}, {"a": "10.77.0.1", "b": "10.77.0.2", "c": "10.77.0.3"}, 1e8)
    limited = {(line[2], line[line.index("dev") + 1]) for line in argv if "tbf" in line}
    assert limited == {
        ("11", "net0"),
        ("12", "net0"),
        ("13", "net0"),
        ("11", "port1"),
        ("11", "port2"),
        ("11", "port3"),
    }
    assert [line[2] for line in argv if "bridge" in line] == ["11"]
    assert not any("tbf" in line for line in cabling({"a": 11, "b": 12}, {"a": "x", "b": "y"}, None))


def test_a_bucket_is_a_millisecond_and_never_smaller_than_a_large_segment_needs() -> None:
    assert limit("net0", 1e10)[-6:] == ["rate", "10000000000bit", "burst", "1250000b", "latency", "100ms"]
    assert "16384b" in limit("net0", 1e7)


def test_without_root_the_command_says_so_and_goes_on_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    where = place(CONTEXT, 2, "100mbit", {}, 2, **FREE)
    assert isinstance(where, Here) and "only root" in capsys.readouterr().err
    assert "only root" in record(where)["why"]


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: None if name == "tc" else f"/bin/{name}")
    assert madenetwork.unable(1e9) == "no tc on this machine"


def test_a_dry_run_shows_the_hosts_and_makes_none() -> None:
    where = place(CONTEXT, 2, None, {}, 3, oversubscribe=True, dry_run=True)
    assert isinstance(where, Listed)
    assert record(where) == {
        "kind": "hosts", "slots": {"h1": 2, "h2": 2}, "interface": "net0", "network": {"rate_bit_per_s": 1e9},
    }  # fmt: skip


def test_options_that_do_not_go_together_are_refused() -> None:
    assert place(CONTEXT, None, None, {"--hosts": "a"}, 2, **FREE) is None
    for hosts, rate, named, ranks in (
        (None, "1gbit", {}, 2),
        (2, None, {"--hosts": "a,b"}, 2),
        (4, None, {}, 2),
        (2, "fast", {}, 2),
    ):
        with pytest.raises(ConfigError):
            place(CONTEXT, hosts, rate, cast(dict[str, str | None], named), ranks, **FREE)


def test_a_transfer_over_loopback_is_measured_and_one_that_nobody_answers_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "SECONDS", 0.2)
    monkeypatch.setattr(link, "SETTLE_SECONDS", 0.05)
    found = link.measure("127.0.0.1", lambda port: link.send("127.0.0.1", port))
    assert found is not None and found[0] > 0 and found[1] > 0

    def hang_up(port: int) -> None:
        socket.create_connection(("127.0.0.1", port)).close()

    assert link.measure("127.0.0.1", hang_up) is None
    monkeypatch.setattr(link, "WAIT_SECONDS", 0.1)
    assert link.measure("127.0.0.1", lambda port: Thread()) is None
