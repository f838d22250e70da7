"""What MPIs and srun say of themselves, and which launcher starts whose ranks."""

from __future__ import annotations

import pytest
from doctor_answers import HYDRA, PLUGINS

from hpcdl.mpi import Mpi, meeting, read_mpi, read_plugins


@pytest.mark.parametrize(
    ("text", "name", "kin"),
    [
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to https://…", "Open MPI 5.0.11", "Open MPI"),
        ("Open MPI v5.0.11, package: Open MPI user@localhost, ident: 5.0.11", "Open MPI 5.0.11", "Open MPI"),
        (HYDRA, "MPICH 5.0.2", "MPICH"),
        # Read in manuals, not recorded:
        ("mpirun (Open MPI) 4.1.5rc2", "Open MPI 4.1.5", "Open MPI"),
        ("mpirun.openmpi (OpenRTE) 4.1.4", "Open MPI 4.1.4", "Open MPI"),
        ("prterun (PRRTE) 3.0.13", "PRRTE 3.0.13", "Open MPI"),
        ("mpirun (IBM Spectrum MPI) 10.4.0.3", "Spectrum MPI 10.4.0.3", "Open MPI"),
        ("MPICH Version:      4.0.2\nMPICH Release date: Thu Apr", "MPICH 4.0.2", "MPICH"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.11 Build 20231005", "Intel MPI 2021.11", "MPICH"),
        ("Intel(R) MPI Library for Linux* OS, Version 5.1.3 Build 20160601", "Intel MPI 5.1.3", "MPICH"),
        ("Intel(R) MPI Library for Linux* OS, Version 2017 Update 2 Build 20170125", "Intel MPI 2017", "MPICH"),
        ("Intel(R) MPI Library 2021.13 for Linux* OS", "Intel MPI 2021.13", "MPICH"),
        ("MVAPICH2 Version      :\t2.3.7", "MVAPICH 2.3.7", "MPICH"),
        ("MPI VERSION    : CRAY MPICH version 8.1.27.26 (ANL base 3.4a2)", "Cray MPICH 8.1.27.26", "MPICH"),
        # Made up:
        ("HYDRA build details:\n    Version: 3.2\n    Prefix: /opt/mvapich2-2.3.7", "MVAPICH 2.3.7", "MPICH"),
    ],
)
def test_an_mpi_is_known_by_what_it_says(text: str, name: str, kin: str) -> None:
    found = read_mpi(text, "/bin/mpirun")
    assert found is not None and (found.name, found.kin) == (name, kin)
    assert str(found) == f"{name} (/bin/mpirun)"


@pytest.mark.parametrize("text", ["srun 22.05.8", "sh: 1: mpirun: not found", ""])
def test_what_is_no_mpi_is_not_known(text: str) -> None:
    assert read_mpi(text) is None


@pytest.mark.parametrize(
    ("text", "plugins"),
    [
        (PLUGINS, "pmix none cray_shasta pmi2 pmix_v4"),
        ("none\nMPI: pmi2\nspecific pmix plugin versions available: pmix_v3,pmix_v4", "none pmi2 pmix_v3 pmix_v4"),
        # As older Slurms print them:
        ("srun: MPI types are...\nsrun: none\nsrun: pmi2\nsrun: openmpi\n", "none pmi2 openmpi"),
        ("srun: MPI types are...\nsrun: mpi/mpich1_p4\nsrun: mpi/none\nsrun: mpi/pmi2\n", "none pmi2"),
        # Made up:
        ("srun: MPI types are... none, pmi2\n", "none pmi2"),
        ("srun: error: mpi/pmix_v4: init: can not load PMIx library\nMPI plugin types are...\n\tnone\n", "none"),
        ("srun: fatal: Could not establish a configuration source for pmix", ""),
        ("sh: 1: srun: not found", ""),
    ],
)
def test_what_srun_offers(text: str, plugins: str) -> None:
    assert read_plugins(text) == tuple(plugins.split())


@pytest.mark.parametrize(
    ("launcher", "library", "expected"),
    [
        # Seen:
        (("Open MPI", 5, 0, 11), ("Open MPI", 5, 0, 11), "meet"),
        (("Open MPI", 5, 0, 11), ("Open MPI", 4, 1, 4), "alone"),
        (("Open MPI", 4, 1, 4), ("Open MPI", 5, 0, 11), "maybe"),
        (("MPICH", 5, 0, 2), ("Open MPI", 5, 0, 11), "alone"),
        # Not seen:
        (("Open MPI", 5, 1), ("Open MPI", 5, 0), "meet"),
        (("Open MPI", 5, 0), ("MPICH", 5, 0), "alone"),
        (("MPICH", 4, 0), ("Intel MPI", 2021, 8), "meet"),
        (("MPICH", 3, 4), ("MPICH", 4, 1), "meet"),
        (("Spectrum MPI", 10, 4), ("Open MPI", 4, 1), "maybe"),
        (("Spectrum MPI", 10, 4), ("Spectrum MPI", 10, 3), "meet"),
        (("PRRTE", 3, 0), ("Open MPI", 5, 0), "maybe"),
        (("an MPI that hpcdl does not know",), ("Open MPI", 5, 0), "alone"),
        (("Open MPI", 5, 0), ("Open MPI",), "maybe"),
    ],
)
def test_whose_ranks_a_launcher_starts(
    launcher: tuple[str, *tuple[int, ...]], library: tuple[str, *tuple[int, ...]], expected: str
) -> None:
    assert meeting(Mpi(launcher[0], launcher[1:]), Mpi(library[0], library[1:])) == expected
