"""Checks of environment, data and variants, each with what to do."""
