"""The subcommands of autolora-bench, one file each."""
