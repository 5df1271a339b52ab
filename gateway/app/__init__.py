"""R4. The only place that wires adapters to ports, and the process around it."""
