"""Examine an installation, the machine it is on, and a server: `clickcut doctor`."""

from clickcut.doctor.findings import Finding, Status, examine

__all__ = ["Finding", "Status", "examine"]
