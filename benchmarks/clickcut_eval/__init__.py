"""Measure like the paper: data sets, simulated users, every compared method, reports."""
