"""The command line: effects at the edge, one file a command."""
