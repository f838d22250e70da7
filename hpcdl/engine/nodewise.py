"""Sums over ranks: of large arrays within each node first, then across nodes, then handed round within the node.

Where ranks share memory, MPI reads one rank's array out of another's in one copy, but libraries whose algorithms are
chosen for networks make several of it: for 100 MiB between two ranks Open MPI 5.0 takes 49 ms and more, this 17
(benchmarks/README.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

Array = npt.NDArray[Any]
PART = 2**17
"""Bytes of a rank's part from which on this is worth its messages, which are more than those of a tree."""
PIECE = 2**20
"""Bytes that are sent at once while sums are made: what came is still in the cache when it is added."""


class NodeWise:
    """Sums over all ranks; every rank makes one part of its node's sums.

    Each element is added up on one rank, so all ranks get the same bits.

    Args:
        comm: the ranks.
        node: those of them on this node; None asks MPI. Where nodes have unequal numbers of ranks, the sums of
            their parts would not fit together, and each rank counts as a node.
    """

    def __init__(self, comm: MPI.Comm, node: MPI.Comm | None = None) -> None:
        node = node or comm.Split_type(MPI.COMM_TYPE_SHARED)
        alike = len(set(comm.allgather(node.size))) == 1
        self._comm = comm
        self._node = node if alike else MPI.COMM_SELF
        self._across = comm.Split(self._node.rank)
        self._space = np.empty(PIECE, np.uint8)

    def sum(self, own: Array, total: Array) -> None:
        """Sums over all ranks.

        Args:
            own: (n,), of the same n and dtype on every rank.
            total: (n,), is filled.
        """
        if self._node.size == 1 or own.nbytes < PART * self._node.size:
            self._comm.Allreduce(own, total)
            return
        self._reduce_scatter(own, total)
        if self._across.size > 1:
            self._across.Allreduce(MPI.IN_PLACE, total[self._part(self._node.rank, own.size)])
        self._allgather(total)

    def _reduce_scatter(self, own: Array, total: Array) -> None:
        """Fills this rank's part of `total` with the node's sum, piece by piece."""
        node, me = self._node, self._node.rank
        piece = PIECE // own.itemsize
        space = self._space[: piece * own.itemsize].view(own.dtype)
        longest = -(-own.size // node.size)
        for begin in range(0, longest, piece):
            # Parts differ by an element at most: the last piece of one may be empty.
            within = slice(begin, begin + piece)
            mine, sums = (array[self._part(me, own.size)][within] for array in (own, total))
            for to, source in self._turns():
                others = own[self._part(to, own.size)][within]
                came = space[: mine.size]
                node.Sendrecv(others, to, recvbuf=came, source=source)
                mine = np.add(mine, came, out=sums)

    def _allgather(self, total: Array) -> None:
        """Fills the other ranks' parts."""
        mine = total[self._part(self._node.rank, total.size)]
        for to, source in self._turns():
            self._node.Sendrecv(mine, to, recvbuf=total[self._part(source, total.size)], source=source)

    def _turns(self) -> list[tuple[int, int]]:
        """(to whom, from whom) this rank sends and gets in each turn, so that all are busy in all of them."""
        me, size = self._node.rank, self._node.size
        return [((me + away) % size, (me - away) % size) for away in range(1, size)]

    def _part(self, rank: int, length: int) -> slice:
        """Of a node's rank, of an array of this length."""
        size = self._node.size
        return slice(rank * length // size, (rank + 1) * length // size)
