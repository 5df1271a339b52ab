"""BOLT 1, appendices A and B: BigSize and TLV streams."""

import json
from pathlib import Path

import pytest

from gateway.bolt import bigsize, tlv
from gateway.errors import Rejection

HERE = Path(__file__).parent
BIGSIZE = json.loads((HERE / "bigsize.json").read_text())
TLV = json.loads((HERE / "tlv.json").read_text())["streams"]
N1 = {1: tlv.truncated_int(8), 2: tlv.fixed(8), 3: tlv.point_then(16), 254: tlv.fixed(2)}
N2 = {0: tlv.truncated_int(8), 11: tlv.truncated_int(4)}
NAMESPACES = {"any": (N1, N2), "n1": (N1,), "n2": (N2,)}


@pytest.mark.parametrize("case", BIGSIZE["decode"], ids=lambda c: c["name"])
def test_bigsize_decode(case: dict) -> None:
    raw = bytes.fromhex(case["bytes"])
    got = bigsize.decode(raw)
    if "exp_error" not in case:
        assert got == (case["value"], len(raw))
        return
    assert isinstance(got, Rejection)
    end = "not_minimal" if "canonical" in case["exp_error"] else "truncated"
    assert got.code == f"bolt.bigsize.{end}"


@pytest.mark.parametrize("case", BIGSIZE["encode"], ids=lambda c: c["name"])
def test_bigsize_encode(case: dict) -> None:
    assert bigsize.encode(case["value"]).hex() == case["bytes"]


@pytest.mark.parametrize("case", TLV, ids=lambda c: f"{c['namespace']}-{c['stream'][:24]}")
def test_tlv_stream(case: dict) -> None:
    raw = bytes.fromhex(case["stream"])
    for namespace in NAMESPACES[case["namespace"]]:
        got = tlv.decode(raw, namespace)
        assert isinstance(got, Rejection) != case["valid"], case["note"]
        if not isinstance(got, Rejection):
            assert tlv.encode(got) == raw


def test_values_of_n1() -> None:
    seen = 0
    for case in TLV:
        if case["valid"] and "amount_msat=" in case["note"]:
            (record,) = tlv.decode(bytes.fromhex(case["stream"]), N1)  # type: ignore[misc]
            assert int.from_bytes(record.value, "big") == int(case["note"].split("=")[1])
            seen += 1
    assert seen == 9


def test_appending_keeps_the_rule() -> None:
    """BOLT 1: valid + invalid fails; a lower stream followed by a higher one does not."""
    bad = [c["stream"] for c in TLV if not c["valid"] and c["namespace"] != "n2"]
    low, high = bytes.fromhex("010101"), bytes.fromhex("02080000000000000226")
    assert not isinstance(tlv.decode(low + high, N1), Rejection)
    for stream in bad:
        assert isinstance(tlv.decode(low + bytes.fromhex(stream), N1), Rejection)
