"""The main job, end to end, on one machine: value crosses between both networks, in both directions, safely."""
