"""Presets, `--set` and plug-ins: what a command was told, checked before anything heavy is imported."""
