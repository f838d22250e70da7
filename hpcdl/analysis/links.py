"""Named links: what `--network` and `--inside` understand.

β is the line rate, which no program reaches: how much of it is reached is an unknown of the forecast. α of what GPUs
use is NCCL's own model of a step of its ring (NVIDIA/nccl, src/graph/tuning.cc, hwLat: NVLink 3.4, PCI 5.7, network
9.6 µs); that of plain TCP is about 50 µs from kernel to kernel (wwt.com, "The basics of high performance networking").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from hpcdl.analysis.network import Cost
from hpcdl.errors import ConfigError

_TCP, _RDMA, _PCI, _NVLINK = 50e-6, 9.6e-6, 5.7e-6, 3.4e-6


@dataclass(frozen=True)
class Link:
    """A link of a node, or between two ranks of one.

    Attributes:
        name: as it was asked for.
        cost: α in seconds, β in seconds a byte.
        source: where the line rate is from.
        given: whether α and β were given as measured figures, so that nothing is taken off the line rate.
    """

    name: str
    cost: Cost
    source: str
    given: bool = False


def _link(name: str, alpha: float, gigabytes: float, source: str) -> Link:
    return Link(name, Cost(alpha, 1e-9 / gigabytes), source)


BETWEEN = [
    _link("1gbit", _TCP, 0.125, "IEEE 802.3ab"),
    _link("10gbit", _TCP, 1.25, "IEEE 802.3ae"),
    _link("25gbit", _TCP, 3.125, "IEEE 802.3by"),
    _link("25gbit-roce", _RDMA, 3.125, "IEEE 802.3by"),
    _link("100gbit-roce", _RDMA, 12.5, "IEEE 802.3bj"),
    _link("40gbit-ib", _RDMA, 4.0, "InfiniBand QDR: 32 Gbit/s of data"),
    _link("56gbit-ib", _RDMA, 6.8, "InfiniBand FDR: 54.5 Gbit/s of data"),
    _link("100gbit-ib", _RDMA, 12.5, "InfiniBand EDR, or HDR100"),
    _link("200gbit-ib", _RDMA, 25.0, "InfiniBand HDR, or NDR200"),
    _link("400gbit-ib", _RDMA, 50.0, "InfiniBand NDR"),
    _link("100gbit-opa", _RDMA, 12.5, "Intel Omni-Path 100"),
    _link("200gbit-slingshot", _RDMA, 25.0, "HPE Slingshot 11"),
    _link("aries", _RDMA, 10.2, "Cray Aries: injection of a node (Alverson and others 2012, Cray XC white paper)"),
]
"""Links between nodes, of one adapter; `4x200gbit-ib` is four of them in each node."""

INSIDE = [
    _link("pcie3", _PCI, 15.75, "PCI Express 3.0 x16"),
    _link("pcie4", _PCI, 31.5, "PCI Express 4.0 x16"),
    _link("pcie5", _PCI, 63.0, "PCI Express 5.0 x16"),
    _link("nvlink1", _NVLINK, 80.0, "NVIDIA P100: 4 links of 20 GB/s each way"),
    _link("nvlink2", _NVLINK, 150.0, "NVIDIA V100: 6 links of 25 GB/s each way"),
    _link("nvlink3", _NVLINK, 300.0, "NVIDIA A100: 12 links of 25 GB/s each way"),
    _link("nvlink4", _NVLINK, 450.0, "NVIDIA H100: 18 links of 25 GB/s each way"),
]
"""Links inside of a node, between two ranks."""


def find_link(text: str, option: str = "--network") -> Link:
    """The link of a name as `100gbit-ib`, `4x200gbit-ib`, or of measured figures `α,β` in seconds and seconds a byte.

    Raises:
        ConfigError: no such name, or figures that are not positive numbers.
    """
    if "," in text:
        return _measured(text, option)
    match = re.fullmatch(r"(?:([1-9]\d?)x)?(.+)", text.strip().lower())
    several, name = (int(match[1] or 1), match[2]) if match else (1, text)
    for link in (*BETWEEN, *INSIDE):
        if link.name == name:
            cost = Cost(link.cost.alpha, link.cost.beta / several)
            return Link(text, cost, link.source if several == 1 else f"{several} times {link.source}")
    names = [link.name for link in (*BETWEEN, *INSIDE)]
    near = get_close_matches(name, names, n=1)
    raise ConfigError(
        f"{option} {text}",
        f"one of {', '.join(names)}, several of them as 4x200gbit-ib, or α,β in seconds and seconds a byte",
        f"did you mean {near[0]!r}?" if near else f"{option} 100gbit-ib, or {option} 1e-5,1e-10",
    )


def _measured(text: str, option: str) -> Link:
    try:
        alpha, beta = (float(part) for part in text.split(","))
        if not (0.0 <= alpha < 1.0 and 0.0 < beta < 1.0):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{option} {text}",
            "α,β: seconds a message, seconds a byte, as 1e-5,1e-10 for 10 µs and 10 GB/s",
            "`hpcdl bench allreduce` measures them",
        ) from None
    return Link(text, Cost(alpha, beta), "given", given=True)
