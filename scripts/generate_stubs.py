"""Generate the Python stubs of the wire contract.

    python scripts/generate_stubs.py            # writes engine/clickcut/v1
    python scripts/generate_stubs.py --out DIR  # writes DIR/clickcut/v1, to compare

Needs the `dev` extra (grpcio-tools, mypy-protobuf). Run it after every change of proto/ and check
the result in; tests/test_stubs.py fails when it is stale.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"


def generate(out: Path) -> None:
    """Write the messages, the service and their types below `out`.

    Raises:
        SystemExit: protoc refused the contract; it has printed why.
    """
    # protoc finds the mypy plug-ins on PATH; they lie beside the interpreter of this environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    out.mkdir(parents=True, exist_ok=True)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    outputs = ("python", "grpc_python", "mypy", "mypy_grpc")
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={well_known}",
            *(f"--{kind}_out={out}" for kind in outputs),
            *(str(path.relative_to(PROTO)) for path in sorted(PROTO.rglob("*.proto"))),
        ]
    )
    if status:
        raise SystemExit(f"protoc failed with status {status}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Generate the stubs of the wire contract.")
    parser.add_argument("--out", type=Path, default=ROOT / "engine")
    generate(parser.parse_args().out)
