"""Which runs a command asks for: by its words, by a suite, by a study that chooses as it goes, by rates tuned first."""
