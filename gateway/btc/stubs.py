"""R3. LND's compiled stubs from lnd-grpc-client, without that package's side effects.

Its classes are not used (they print and swallow errors); importing it sets GRPC_SSL_CIPHER_SUITES for the
whole process, which is undone here. GetDebugInfo is younger than these stubs: its messages live in a
descriptor pool of their own, so that they never clash with the shipped ones.
"""

from __future__ import annotations

import os
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_before = os.environ.get("GRPC_SSL_CIPHER_SUITES")
from lndgrpc.compiled import (  # noqa: E402
    chainnotifier_pb2,
    chainnotifier_pb2_grpc,
    invoices_pb2,
    invoices_pb2_grpc,
    lightning_pb2,
    lightning_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    stateservice_pb2,
    stateservice_pb2_grpc,
)

if _before is None:
    os.environ.pop("GRPC_SSL_CIPHER_SUITES", None)
else:
    os.environ["GRPC_SSL_CIPHER_SUITES"] = _before

DEBUG_INFO_PATH = "/lnrpc.Lightning/GetDebugInfo"


def _debug_messages() -> tuple[Any, Any]:
    """GetDebugInfoRequest {} and GetDebugInfoResponse {map<string, string> config = 1; repeated string log = 2}."""
    file = descriptor_pb2.FileDescriptorProto(name="debug.proto", package="lnrpc", syntax="proto3")
    file.message_type.add(name="GetDebugInfoRequest")
    answer = file.message_type.add(name="GetDebugInfoResponse")
    entry = answer.nested_type.add(name="ConfigEntry")
    entry.options.map_entry = True
    label, string = descriptor_pb2.FieldDescriptorProto, descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    entry.field.add(name="key", number=1, label=label.LABEL_OPTIONAL, type=string)
    entry.field.add(name="value", number=2, label=label.LABEL_OPTIONAL, type=string)
    answer.field.add(
        name="config",
        number=1,
        label=label.LABEL_REPEATED,
        type=label.TYPE_MESSAGE,
        type_name=".lnrpc.GetDebugInfoResponse.ConfigEntry",
    )
    answer.field.add(name="log", number=2, label=label.LABEL_REPEATED, type=string)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return (
        message_factory.GetMessageClass(find("lnrpc.GetDebugInfoRequest")),
        message_factory.GetMessageClass(find("lnrpc.GetDebugInfoResponse")),
    )


DebugInfoRequest, DebugInfoResponse = _debug_messages()

__all__ = [
    "DEBUG_INFO_PATH",
    "DebugInfoRequest",
    "DebugInfoResponse",
    "chainnotifier_pb2",
    "chainnotifier_pb2_grpc",
    "invoices_pb2",
    "invoices_pb2_grpc",
    "lightning_pb2",
    "lightning_pb2_grpc",
    "router_pb2",
    "router_pb2_grpc",
    "stateservice_pb2",
    "stateservice_pb2_grpc",
]
