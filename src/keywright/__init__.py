"""Keywright: payment in, license out."""

__version__ = "0.1.0"
