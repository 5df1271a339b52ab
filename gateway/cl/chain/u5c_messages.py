"""UTxO RPC's messages, as far as we use them, in a descriptor pool of their own.

Source: the protocol's v1beta schema (sync, query, submit, cardano; May 2026): names and numbers of fields
are the wire format. Fields that are not listed are skipped when read.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "uint64": _F.TYPE_UINT64, "int64": _F.TYPE_INT64, "uint32": _F.TYPE_UINT32, "int32": _F.TYPE_INT32,
    "bytes": _F.TYPE_BYTES, "string": _F.TYPE_STRING,
}  # fmt: skip

# message -> "name number type"; a type that ends in "*" repeats.
_MESSAGES = {
    "Nothing": (),
    "BlockRef": ("slot 1 uint64", "hash 2 bytes", "height 3 uint64", "timestamp 4 uint64"),
    "Header": ("slot 1 uint64", "hash 2 bytes", "height 3 uint64"),
    "Block": ("header 1 Header", "timestamp 3 uint64"),
    "AnyBlock": ("native_bytes 1 bytes", "cardano 2 Block"),
    "FetchBlockRequest": ("ref 1 BlockRef*",),
    "FetchBlockResponse": ("block 1 AnyBlock*",),
    "DumpHistoryRequest": ("start_token 2 BlockRef", "max_items 3 uint32"),
    "DumpHistoryResponse": ("block 1 AnyBlock*", "next_token 2 BlockRef"),
    "ReadTipResponse": ("tip 1 BlockRef",),
    "TxoRef": ("hash 1 bytes", "index 2 uint32"),
    "AddressPattern": ("exact_address 1 bytes",),
    "AssetPattern": ("policy_id 1 bytes",),
    "OutputPattern": ("address 1 AddressPattern", "asset 2 AssetPattern"),
    "UtxoPattern": ("cardano 1 OutputPattern",),
    "Predicate": ("match 1 UtxoPattern",),
    "UtxoData": ("native_bytes 1 bytes", "txo_ref 2 TxoRef"),
    "ReadUtxosRequest": ("keys 1 TxoRef*",),
    "ReadUtxosResponse": ("items 1 UtxoData*",),
    "SearchUtxosRequest": ("predicate 1 Predicate", "max_items 3 int32", "start_token 4 string"),
    "SearchUtxosResponse": ("items 1 UtxoData*", "next_token 3 string"),
    "AnyTx": ("native_bytes 1 bytes", "block_ref 3 BlockRef"),
    "ReadTxRequest": ("hash 1 bytes",),
    "ReadTxResponse": ("tx 1 AnyTx",),
    "Genesis": ("network_magic 17 uint32", "slot_length 20 uint32", "system_start 22 string"),
    "ReadGenesisResponse": ("cardano 3 Genesis",),
    "BigInt": ("int 1 int64", "big_u_int 2 bytes", "big_n_int 3 bytes"),
    "Rational": ("numerator 1 int32", "denominator 2 uint32"),
    "Units": ("steps 1 uint64", "memory 2 uint64"),
    "Prices": ("steps 1 Rational", "memory 2 Rational"),
    "Version": ("major 1 uint32", "minor 2 uint32"),
    "CostModel": ("values 1 int64*",),
    "CostModels": ("plutus_v1 1 CostModel", "plutus_v2 2 CostModel", "plutus_v3 3 CostModel"),
    "PParams": (
        "coins_per_utxo_byte 1 BigInt", "max_tx_size 2 uint64", "min_fee_coefficient 3 BigInt",
        "min_fee_constant 4 BigInt", "protocol_version 15 Version", "max_value_size 16 uint64",
        "collateral_percentage 17 uint64", "max_collateral_inputs 18 uint64", "cost_models 19 CostModels",
        "prices 20 Prices", "max_execution_units_per_transaction 21 Units",
        "max_execution_units_per_block 22 Units", "min_fee_script_ref_cost_per_byte 23 Rational",
    ),
    "AnyParams": ("cardano 1 PParams",),
    "ReadParamsResponse": ("values 1 AnyParams",),
    "RawTx": ("raw 1 bytes",),
    "SubmitTxRequest": ("tx 1 RawTx",),
    "SubmitTxResponse": ("ref 1 bytes",),
}  # fmt: skip

# method -> (full path, request, response)
METHODS = {
    "ReadTip": ("/utxorpc.v1beta.sync.SyncService/ReadTip", "Nothing", "ReadTipResponse"),
    "FetchBlock": ("/utxorpc.v1beta.sync.SyncService/FetchBlock", "FetchBlockRequest", "FetchBlockResponse"),
    "DumpHistory": ("/utxorpc.v1beta.sync.SyncService/DumpHistory", "DumpHistoryRequest", "DumpHistoryResponse"),
    "ReadParams": ("/utxorpc.v1beta.query.QueryService/ReadParams", "Nothing", "ReadParamsResponse"),
    "ReadUtxos": ("/utxorpc.v1beta.query.QueryService/ReadUtxos", "ReadUtxosRequest", "ReadUtxosResponse"),
    "SearchUtxos": ("/utxorpc.v1beta.query.QueryService/SearchUtxos", "SearchUtxosRequest", "SearchUtxosResponse"),
    "ReadTx": ("/utxorpc.v1beta.query.QueryService/ReadTx", "ReadTxRequest", "ReadTxResponse"),
    "ReadGenesis": ("/utxorpc.v1beta.query.QueryService/ReadGenesis", "Nothing", "ReadGenesisResponse"),
    "SubmitTx": ("/utxorpc.v1beta.submit.SubmitService/SubmitTx", "SubmitTxRequest", "SubmitTxResponse"),
}  # fmt: skip


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="gateway/u5c.proto", package="u5c", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in fields:
            field, number, kind = line.split()
            made = message.field.add(name=field, number=int(number), label=_F.LABEL_OPTIONAL)
            if kind.endswith("*"):
                made.label, kind = _F.LABEL_REPEATED, kind[:-1]
            if kind in _SCALARS:
                made.type = _SCALARS[kind]
            else:
                made.type, made.type_name = _F.TYPE_MESSAGE, f".u5c.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"u5c.{name}")) for name in _MESSAGES
    }


MESSAGES: dict[str, Any] = _build()
