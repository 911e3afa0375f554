"""Examples from the hub, from files on disk, or generated: one schema whatever the source."""
