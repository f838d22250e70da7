"""What is asked of Slurm: a request against a site becomes a job, or is refused before the queue."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpcdl.errors import ConfigError
from hpcdl.slurm.clock import format_time, parse_time
from hpcdl.slurm.sites import Site

WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+,=-]*")
DEFAULT_TIME = "01:00:00"


@dataclass(frozen=True)
class Request:
    """What the user asked for; None leaves it to the site.

    Attributes:
        nodes: whole nodes, or parts of so many.
        ranks_per_node: None: one rank a GPU, or one rank on a node without.
        threads: compute threads a rank, where the recipe says so.
        time: as Slurm writes it.
        account: whom it is charged to.
        qos: quality of service.
        partition: of nodes.
        container: path of an image.
    """

    nodes: int = 1
    ranks_per_node: int | None = None
    threads: int | None = None
    time: str | None = None
    account: str | None = None
    qos: str | None = None
    partition: str | None = None
    container: str | None = None


@dataclass(frozen=True)
class Job:
    """A request that the site can serve.

    Attributes:
        name: as Slurm shows it.
        nodes: number of nodes.
        ranks_per_node: ranks on each.
        threads: compute threads a rank.
        cpus_per_task: a rank's CPUs as the site's Slurm counts them; None asks for nothing.
        gpus: a node; 0 asks for none.
        time: D-HH:MM:SS.
        account: None: the user's default.
        qos: None: the default.
        partition: None: the default.
    """

    name: str
    nodes: int
    ranks_per_node: int
    threads: int
    cpus_per_task: int | None
    gpus: int
    time: str
    account: str | None
    qos: str | None
    partition: str | None

    @property
    def ranks(self) -> int:
        """The world size."""
        return self.nodes * self.ranks_per_node


def plan_job(name: str, request: Request, site: Site) -> Job:
    """The job that a request becomes at a site.

    Args:
        name: any text; what Slurm cannot show becomes a dash.
        request: what is wanted.
        site: where.

    Raises:
        ConfigError: the site cannot serve it, or Slurm could not read a word of it; it tells the site's figure.
    """
    for option, word in (("account", request.account), ("qos", request.qos), ("partition", request.partition)):
        if word is not None and not WORD.fullmatch(word):
            raise ConfigError(f"--{option} {word!r}", "letters, digits and _ . : / @ + , = -", f"correct --{option}")
    qos, partition = request.qos or site.ask.qos, request.partition or site.ask.partition
    _check_account(request, site)
    _check_container(request, site)
    seconds = _checked_time(request, site, qos, partition)
    _check_nodes(request, site, qos, partition)
    ranks = _ranks_per_node(request, site)
    cpus = _cpus_per_task(request, site, ranks)
    return Job(
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "hpcdl",
        nodes=request.nodes,
        ranks_per_node=ranks,
        threads=request.threads or max(1, (cpus or 1) // site.node.threads_per_core),
        cpus_per_task=cpus,
        gpus=0 if site.ask.gpus == "none" else (site.node.gpus if site.ask.exclusive and site.node.gpus else ranks),
        time=format_time(seconds),
        account=request.account,
        qos=qos,
        partition=partition,
    )


def _check_account(request: Request, site: Site) -> None:
    if site.account.required and request.account is None:
        example = f", as {site.account.example}" if site.account.example else ""
        raise ConfigError(
            f"no --account for {site.name}",
            f"the project that the job is charged to{example}: {site.name} refuses jobs without",
            "add --account PROJECT",
        )


def _check_container(request: Request, site: Site) -> None:
    if request.container is not None and site.container.command is None:
        raise ConfigError(
            f"--container {request.container} for {site.name}",
            f"a site that runs .sif images; {site.container.note or 'this one is not known to'}",
            "leave --container out, or set container.command in a site file of your own",
        )


def _checked_time(request: Request, site: Site, qos: str | None, partition: str | None) -> int:
    limit = site.limits_of(qos, partition).time
    if request.time is None:
        default = parse_time(DEFAULT_TIME)
        return min(default, parse_time(limit)) if limit else default
    seconds = parse_time(request.time)
    if limit and seconds > parse_time(limit):
        raise ConfigError(
            f"--time {format_time(seconds)} for {site.name}{_queue(qos, partition)}",
            f"at most {format_time(parse_time(limit))}",
            f"give --time {format_time(parse_time(limit))}{_longer(site, seconds)}",
        )
    return seconds


def _check_nodes(request: Request, site: Site, qos: str | None, partition: str | None) -> None:
    most = site.limits_of(qos, partition).nodes
    if request.nodes < 1 or (most and request.nodes > most):
        told = f"1 to {most} nodes" if most else "at least 1 node"
        raise ConfigError(
            f"--nodes {request.nodes} for {site.name}{_queue(qos, partition)}",
            told,
            f"use --nodes {min(max(request.nodes, 1), most or max(request.nodes, 1))}, or another --qos or --partition",
        )


def _ranks_per_node(request: Request, site: Site) -> int:
    gpus, wanted = site.node.gpus, request.ranks_per_node
    if wanted is not None and wanted < 1:
        raise ConfigError(f"--ranks-per-node {wanted}", "at least 1", "leave it out for the site's default")
    if gpus is None:
        if wanted is None:
            raise ConfigError(
                f"no --ranks-per-node for {site.name}, whose GPUs a node are not known",
                "how many GPUs to ask for on each node; each gets a rank",
                "add --ranks-per-node 4, or set node.gpus in a site file of your own",
            )
        return wanted
    if gpus:
        if wanted is not None and wanted > gpus:
            raise ConfigError(
                f"--ranks-per-node {wanted} for {site.name}",
                f"at most one rank a GPU; a node has {gpus}",
                f"use --ranks-per-node {gpus} and more --nodes",
            )
        return wanted or gpus
    cores = site.node.cores
    if wanted is not None and cores is not None and wanted > cores:
        raise ConfigError(
            f"--ranks-per-node {wanted} for {site.name}",
            f"at most one rank a core; a node has {cores}",
            f"use --ranks-per-node {cores} and more --nodes",
        )
    return wanted or 1


def _cpus_per_task(request: Request, site: Site, ranks: int) -> int | None:
    node = site.node
    share = site.threads_of_gpu
    if share is None and node.cores is not None:
        share = node.cores // ranks * node.threads_per_core
    if request.threads is None:
        return share
    wanted = request.threads * node.threads_per_core
    most = node.cores // ranks if node.cores is not None else None
    if most is not None and request.threads > most:
        raise ConfigError(
            f"launch.threads={request.threads} on {ranks} ranks a node of {site.name}",
            f"at most {most}: a node has {node.cores} cores",
            f"use launch.threads={most}, or fewer --ranks-per-node",
        )
    return max(wanted, share) if share and site.threads_of_gpu else wanted


def _queue(qos: str | None, partition: str | None) -> str:
    return "".join(f", {kind} {name}" for kind, name in (("qos", qos), ("partition", partition)) if name)


def _longer(site: Site, seconds: int) -> str:
    names = [name for name, limits in site.queues.items() if limits.time and parse_time(limits.time) >= seconds]
    return f", or a queue that allows it: {', '.join(names)}" if names else ""
