"""R2. The forms of channel data that several channel messages share."""

from __future__ import annotations

from gateway.cl.data import types as t
from gateway.cl.data.ending import EndTerms
from gateway.cl.wire.fields import Int, Many, One, Spec, Sub, SubMany, Text, exactly
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, Ms, PosixMs, Slot

KEY = One(exactly(32, t.VerificationKey))
SIGNATURE = One(exactly(64, t.Signature))
LOCK = One(exactly(32, Hashlock))
PREIMAGE = One(exactly(32, Preimage))
AMOUNT = One(Int(Lovelace))
POSITIVE_AMOUNT = One(Int(Lovelace, least=1))
TIME = One(Int(PosixMs))
SPAN = One(Int(Ms))
INDEX = One(Int(least=1))  # decision 3: cheque indices start at 1
COUNT = One(Int())

OUTPUT_REF = Spec(t.OutputRef, {"tx_id": One(exactly(32)), "index": One(Int(most=0xFFFF))})
SQUASH = Spec(
    t.Squash,
    {"amount": AMOUNT, "index": One(Int()), "exclude": Many(Int(least=1), t.MAX_EXCLUDES)},
    {"amount": "amount_lovelace"},
)
SNAPSHOT = Spec(t.Snapshot, {"first": Sub(SQUASH), "second": Sub(SQUASH)})
SIGNED_SNAPSHOT = Spec(t.SignedSnapshot, {"snapshot": Sub(SNAPSHOT), "signature": SIGNATURE})
CHEQUE = Spec(
    t.Cheque,
    {"index": INDEX, "timeout": TIME, "lock": LOCK, "amount": POSITIVE_AMOUNT},
    {"timeout": "timeout_ms", "amount": "amount_lovelace"},
)
SIGNED_CHEQUE = Spec(t.SignedCheque, {"cheque": Sub(CHEQUE), "signature": SIGNATURE})

ADDRESS = One(Text(128, cut=False))
END_TERMS = Spec(
    EndTerms,
    {
        "output": Sub(OUTPUT_REF),
        "address": ADDRESS,
        "payout": AMOUNT,
        "inputs": SubMany(OUTPUT_REF, 16),
        "change_address": ADDRESS,
        "change": AMOUNT,
        "fee": AMOUNT,
        "first_slot": One(Int(Slot)),
        "end_slot": One(Int(Slot)),
        "until": TIME,
        "collateral": SubMany(OUTPUT_REF, 3),
        "collateral_return": AMOUNT,
        "total_collateral": AMOUNT,
        "references": SubMany(OUTPUT_REF, 1),
        "spend_mem": COUNT,
        "spend_steps": COUNT,
        "mint_mem": COUNT,
        "mint_steps": COUNT,
        "tx_id": One(exactly(32)),
    },
    {
        "payout": "payout_lovelace",
        "change": "change_lovelace",
        "fee": "fee_lovelace",
        "until": "until_ms",
        "collateral_return": "collateral_return_lovelace",
        "total_collateral": "total_collateral_lovelace",
    },
)
