"""The main job, end to end, on one machine: value crosses between both networks, in both directions, safely."""

import os

# gRPC's own remarks about a node that stops are no news here; it reads this when it is first imported
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
