"""A gateway node between Bitcoin Lightning (BLN) and Cardano Lightning (CL)."""

__version__ = "0.1.0"
