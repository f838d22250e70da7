"""What a machine room has and how it wants to be asked: one YAML file a site."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from hpcdl.config.explain import explain
from hpcdl.config.schema import Positive, Section
from hpcdl.config.shipped import shipped
from hpcdl.config.yamlfile import parse, read
from hpcdl.errors import ConfigError
from hpcdl.slurm.clock import parse_time

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/@+,=|&*()\[\]-]*$")]
"""What may stand in an #SBATCH line as it is: no space, quote, comment or expansion."""


class SiteAbout(Section):
    """Where the figures come from, and what nobody has tried."""

    title: str
    """The machine and its centre."""
    source: str
    """Documents that the figures were read in."""
    date: str
    """When, YYYY-MM-DD."""
    unverified: Literal["all"] | list[str]
    """Keys that nobody has run with hpcdl on this machine; all: the whole file was read and never run."""


class Node(Section):
    """One node, as far as jobs may use it."""

    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs; 0: a machine of processors; null: not known, so --ranks-per-node says how many to ask for."""
    cores: Positive | None = None
    """Cores that jobs may use; null: not known, so nothing is asked for and nothing checked."""
    threads_per_core: Positive = 1
    """Hardware threads of a core, where the site's Slurm counts those as CPUs."""
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory that a job may use; null: not known."""
    cores_per_gpu: Positive | None = None
    """Cores that the site gives with each GPU; null: cores / gpus."""


class Limits(Section):
    """What a queue allows."""

    time: str | None = None
    """Longest job, as Slurm writes it; null: no limit that is known."""
    nodes: Positive | None = None
    """Most nodes of a job."""

    @model_validator(mode="after")
    def _is_a_time(self) -> Limits:
        if self.time is not None:
            try:
                parse_time(self.time)
            except ConfigError as error:
                raise ValueError(f"time as {error.expected}") from None
        return self


class Account(Section):
    """Whom a job is charged to."""

    required: bool = False
    """The site refuses jobs without --account."""
    example: str = ""
    """What an account looks like there."""


class Ask(Section):
    """How the site's Slurm wants to be asked."""

    gpus: Literal["gres", "gpus-per-node", "none"] = "gres"
    """--gres=gpu:N or --gpus-per-node=N; never --gpus-per-task, which hides a node's other GPUs from a rank."""
    gpu_type: Word | None = None
    """The type in gpu:TYPE:N."""
    partition: Word | None = None
    """Used without --partition; null: the site's default."""
    qos: Word | None = None
    """Used without --qos; null: the site's default."""
    constraint: Word | None = None
    """--constraint."""
    exclusive: bool = False
    """Jobs get whole nodes."""
    directives: list[Annotated[str, Field(pattern=r"^--[a-z-]+(=[A-Za-z0-9_.:/@+,=-]+)?$")]] = []
    """More #SBATCH options."""


class Mpi(Section):
    """How ranks start."""

    start: Literal["mpirun", "srun"] = "mpirun"
    """mpirun of the MPI in use, through its Slurm launcher; srun: Slurm's own, by its PMIx plugin."""
    pmi: Word = "pmix"
    """srun --mpi=…; pmi2 leaves each rank of Open MPI 5 alone in a world of its own."""


class Container(Section):
    """How images run."""

    command: Literal["apptainer", "singularity"] | None = None
    """null: the site runs no .sif images."""
    gpu: Literal["--nv", "--rocm"] | None = None
    """Brings the GPU driver into the image."""
    bind: list[str] = []
    """Folders of the host that images need, as /scratch or /host:/inside."""
    note: str = ""
    """What a user must know, for the error where there is no command."""


class Site(Section):
    """A machine room."""

    name: Word
    """As in --site."""
    about: SiteAbout
    node: Node = Node()
    ask: Ask = Ask()
    limits: Limits = Limits()
    """Of the partition, or of any job."""
    queues: dict[Word, Limits] = {}
    """Of each --qos or --partition that has limits of its own."""
    account: Account = Account()
    modules: list[Word] = []
    """Loaded before ranks start, in this order."""
    container_modules: list[Word] = []
    """Loaded besides, where an image runs."""
    interface: Word | None = None
    """Network interface between nodes, for NCCL's and Open MPI's TCP connections; null: they choose."""
    network: Word | None = None
    """Link of a node to the others, as `hpcdl forecast --network` names it; null: not known."""
    mpi: Mpi = Mpi()
    container: Container = Container()
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}
    """Variables of every rank."""

    @property
    def threads_of_gpu(self) -> int | None:
        """CPUs, as the site's Slurm counts them, that belong to one GPU."""
        node = self.node
        if not node.gpus or node.cores is None:
            return None
        return (node.cores_per_gpu or node.cores // node.gpus) * node.threads_per_core

    def limits_of(self, qos: str | None, partition: str | None) -> Limits:
        """The limits of a queue: the QOS's, then the partition's, then the site's own."""
        found = [self.queues[name] for name in (qos, partition) if name and name in self.queues]
        found.append(self.limits)
        return Limits(
            time=next((each.time for each in found if each.time), None),
            nodes=next((each.nodes for each in found if each.nodes), None),
        )


SHIPPED = shipped("slurm") / "sites"


def site_names(own: Path | None = None) -> list[str]:
    """Names of the sites that ship with hpcdl and of the user's own, sorted."""
    return sorted({path.stem for folder in (own, SHIPPED) if folder for path in folder.glob("*.yaml")})


def load_site(name: str, own: Path | None = None) -> Site:
    """Reads a site.

    Args:
        name: a site's name, or the path of a YAML file.
        own: the user's folder of sites, which wins over what ships with hpcdl.

    Raises:
        ConfigError: no such site, or a key or value that is not usable.
    """
    return _load(site_path(name, own))


def site_path(name: str, own: Path | None = None) -> Path:
    """Where a site's file is.

    Args:
        name: a site's name, or the path of a YAML file.
        own: the user's folder of sites, which wins over what ships with hpcdl.

    Raises:
        ConfigError: no such site.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    for folder in (own, SHIPPED):
        if folder and (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    names = site_names(own)
    near = get_close_matches(name, names, n=1)
    fix = f"did you mean {near[0]!r}?" if near else f"write {own or 'FOLDER'}/{name}.yaml, from `hpcdl sites show`"
    raise ConfigError(f"site {name!r}", "a YAML file, or one of: " + ", ".join(names), fix)


def _load(path: Path) -> Site:
    text = read(path, "a site in YAML", "see `hpcdl sites show generic-gpu`")
    document = parse(text, str(path), "see `hpcdl sites show generic-gpu`")
    try:
        site = Site.model_validate(document)
    except ValidationError as error:
        raise explain(error, Site, str(path), "name and about, with title, source, date and unverified") from None
    if site.name != path.stem:
        raise ConfigError(f"{path}: name={site.name!r}", f"the file's own name, {path.stem!r}", "rename one of them")
    return site
