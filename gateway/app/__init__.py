"""R4. The only place that wires adapters to ports, and the process around it."""

from gateway.app.init import initialise
from gateway.app.process import run_node

__all__ = ["initialise", "run_node"]
