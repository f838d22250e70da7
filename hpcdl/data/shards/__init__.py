"""Images packed once: the format, how it is written, read and checked."""
