"""From a recipe and a site to a folder that holds everything a Slurm job needs."""
