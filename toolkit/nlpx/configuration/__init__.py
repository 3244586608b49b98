"""Presets, `--set` and plug-ins: the settings of a command, checked before anything heavy is imported."""
