"""As whom an image is built: an ordinary user with --fakeroot, or a root that lacks nothing."""

from __future__ import annotations

from collections.abc import Collection

from hpcdl.errors import LaunchError


def root_is_whole(status: str, last: int) -> bool:
    """Whether a process holds every capability; sandboxes hold some back, and Apptainer's builds as root fail then.

    Args:
        status: text of /proc/self/status.
        last: number of the kernel's last capability, from /proc/sys/kernel/cap_last_cap.
    """
    held = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return int(held, 16) == (1 << (last + 1)) - 1


def ordinary_user(subuid: str, accounts: Collection[str]) -> str:
    """A user who has user ids to map, which --fakeroot needs.

    Args:
        subuid: text of /etc/subuid, NAME:FIRST:COUNT a line.
        accounts: names of the machine's users who have a home folder: Apptainer mounts it as the image's /root.

    Raises:
        LaunchError: there is none.
    """
    for name, *_ in (line.split(":") for line in subuid.splitlines() if line.count(":") == 2):
        if name in accounts and name != "root":
            return name
    raise LaunchError(
        "root without some of its capabilities, as in a sandbox, and no ordinary user with a home in /etc/subuid",
        "an ordinary user to build as, for Apptainer builds with --fakeroot there",
        "`useradd --create-home builder`, then again",
    )
