"""Apptainer or Singularity, and what building an image as an ordinary user needs."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping

from hpcdl.doctor.findings import Finding, ok, warning
from hpcdl.doctor.here import Here, last_line

RUNTIMES = ("apptainer", "singularity")


def check(here: Here, root: bool) -> list[Finding]:
    """The containers' lines."""
    inside = judge_inside(here.environ, docker=here.file("/.dockerenv").exists())
    runtime = next((name for name in RUNTIMES if here.which(name)), None)
    answer = here.answer(runtime, "--version") if runtime else None
    if runtime is None or answer is None:
        return [*inside, ok("runtime", "none (only --container needs one)")]
    if answer.code != 0:
        mend = "load its module again, or install Apptainer"
        return [*inside, warning("runtime", f"{runtime} does not run: {last_line(answer)}", mend)]
    told = answer.out.strip()
    if root:
        return [*inside, ok("runtime", f"{told}; root needs neither user namespaces nor fakeroot")]
    return [
        *inside,
        ok("runtime", told),
        judge_namespaces(
            here.read("/proc/sys/user/max_user_namespaces"),
            here.read("/proc/sys/kernel/unprivileged_userns_clone"),
            here.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ),
        judge_fakeroot(here.read("/etc/subuid"), getpass.getuser(), os.getuid()),
    ]


def judge_inside(environ: Mapping[str, str], *, docker: bool) -> list[Finding]:
    """Whether this is a container already."""
    image = environ.get("APPTAINER_CONTAINER") or environ.get("SINGULARITY_CONTAINER")
    if image or docker:
        return [ok("inside", f"the image {image}" if image else "a Docker container")]
    return []


def judge_namespaces(most: str, clone: str, restricted: str) -> Finding:
    """Without user namespaces an image runs only by a starter that root has made setuid."""
    name, mend = "user namespaces", "ask the admins, who can allow them or install apptainer-suid"
    if most == "0":
        return warning(name, "user.max_user_namespaces is 0", mend)
    if clone == "0":
        return warning(name, "kernel.unprivileged_userns_clone is 0", mend)
    if restricted == "1":
        return warning(name, "restricted by AppArmor", "install Apptainer's package, which brings its AppArmor profile")
    return ok(name, f"up to {most}" if most else "allowed, as far as Linux tells")


def judge_fakeroot(subuid: str, user: str, uid: int) -> Finding:
    """Building as an ordinary user maps root to a range of that user's own."""
    names = [line.split(":")[0] for line in subuid.splitlines()]
    if user in names or str(uid) in names:
        return ok("fakeroot", f"{user} has a range in /etc/subuid")
    mend = f"build images elsewhere, or as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    return warning("fakeroot", f"no range for {user} in /etc/subuid: images run, and builds may fail", mend)
