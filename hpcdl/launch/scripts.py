"""Runs a script's ranks, which may be started again where they end badly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hpcdl.errors import LaunchError
from hpcdl.launch.plan import Plan
from hpcdl.launch.supervisor import STOPPED, inherited, run
from hpcdl.launch.told import Told


def run_script(plan: Plan, environ: Mapping[str, str], tell: Callable[[str], None], told: Told | None) -> int:
    """Starts the ranks of a script, waits, and answers their exit code; they say themselves why it is not 0.

    Args:
        plan: from plan_script.
        environ: of this process.
        tell: hears what a signal leads to.
        told: what ranks leave, where they may be started again; None: they are not.

    Raises:
        LaunchError: they cannot be started, a signal ended them, or they may be started again and ended otherwise
            than with 0 or STOPPED.
    """
    code = run(plan.argv, inherited(environ), in_order=tell)
    if told and code not in (0, STOPPED):
        error = LaunchError(f"the ranks ended with code {code}", "every rank to reach the end", "see what they said")
        error.lasting = told.lasting
        raise error
    return code
