"""Typed configuration: dataclasses say what a setting means, the YAML under conf/ says its value and source."""
