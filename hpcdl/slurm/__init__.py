"""From a run to a Slurm job: sites and jobs are values, render is pure, the client asks Slurm through a runner."""
