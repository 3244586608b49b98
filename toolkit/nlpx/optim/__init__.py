"""Optimizers, rate schedules and parameter rules."""
