"""Benchmarks: accuracy as clicks per object, latency over the wire, the cut."""
