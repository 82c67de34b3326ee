"""The stages of a request that are timed."""

from __future__ import annotations

from clickcut.v1 import clickcut_pb2 as pb

STAGES = tuple(field.name for field in pb.Timings.DESCRIPTOR.fields)
"""Names of the stages, as in `Timings` of the wire contract."""
