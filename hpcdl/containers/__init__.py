"""Images of hpcdl for Apptainer and SingularityCE."""
