"""The data of a recipe on this rank: read once a node where they live in memory."""

from __future__ import annotations

from pathlib import Path

from hpcdl.config.schema import DataConfig
from hpcdl.data.images import ImageSet
from hpcdl.data.shared import adopt, publish
from hpcdl.data.sources.registry import load
from hpcdl.training.session import Session


def load_on_node(config: DataConfig, path: Path, session: Session) -> ImageSet:
    """Loads a set; ranks of one node that name the same path share the pixels that its first rank has read.

    Every rank calls it. The shared file has no name any more when this returns, so nothing of it stays
    behind, however the ranks end after that.

    Args:
        config: names the source and the subset.
        path: where the set is, on this rank.
        session: the ranks.

    Raises:
        DataError: the set is damaged, or a class is not in it.
    """
    world, engine = session.world, session.engine
    if world.local_size == 1:
        return load(config, path)
    own = load(config, path) if world.local_rank == 0 else None
    published = publish(own) if own else None
    everyone = engine.gather_objects((world.node, str(path), published))
    offers = {(node, place): offer for node, place, offer in everyone if offer}
    offer = offers.get((world.node, str(path)))
    images = adopt(offer) if offer else own or load(config, path)
    engine.barrier()
    if published:
        published.path.unlink()
    return images
