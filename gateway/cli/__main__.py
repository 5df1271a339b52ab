"""R5. `python -m gateway.cli`: the same as the console script `gateway`."""

from gateway.cli.main import main

main()
