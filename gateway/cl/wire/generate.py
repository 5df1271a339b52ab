"""R5. Writes cl_pb2.py and cl_pb2.pyi from cl.proto: `python -m gateway.cl.wire.generate [directory]`.

Needs grpcio-tools and mypy-protobuf (development dependencies). A test holds the committed files to its output.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROTO = HERE / "cl.proto"


def generate(into: Path) -> tuple[Path, Path]:
    """The two files, below `into` by package path. Fails with SystemExit when protoc refuses the schema."""
    protoc = import_module("grpc_tools.protoc")
    relative = PROTO.relative_to(ROOT)
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"--plugin=protoc-gen-mypy={plugin}",
        f"--python_out={into}",
        f"--mypy_out=quiet:{into}",
        str(relative),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the schema")
    made = into / relative.parent
    return made / "cl_pb2.py", made / "cl_pb2.pyi"


if __name__ == "__main__":
    for path in generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT):
        print(path)
