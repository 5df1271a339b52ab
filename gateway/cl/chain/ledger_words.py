"""What an HTTP API says of a submission: taken, refused by the ledger, or unknown."""

from __future__ import annotations

from gateway.cl.chain.errors import INCONSISTENT, INPUTS_SPENT, MALFORMED, MEMPOOL, REFUSED, SUBMIT_REFUSED
from gateway.cl.chain.http import Answer
from gateway.cl.ports import SubmitRefused, SubmitResult, Submitted, SubmitUnknown

_FULL = 425
# What the ledger itself says comes wrapped in these; anything else under a 400 is not about the transaction.
_LEDGER_WORDS = ("TxSubmitFail", "TxCmdTxReadError", "ApplyTxError", "TxValidationError", "DecoderError")
_SPENT_WORDS = ("BadInputsUTxO", "All inputs are spent")


def submitted(path: str, tx_id: bytes, answer: Answer) -> SubmitResult:
    """Of the answer that a node's id of the transaction comes in."""
    if answer.status not in (200, 202):
        return refused(path, answer.status, answer.words)
    if answer.value == tx_id.hex():
        return Submitted(tx_id)
    if answer.value is None:
        return SubmitUnknown(MALFORMED(field=path, got=answer.words[:80], allowed="JSON"))
    return SubmitUnknown(
        INCONSISTENT(field="transaction.id", got=str(answer.value)[:80], allowed=tx_id.hex())
    )


def refused(path: str, status: int, words: str) -> SubmitRefused | SubmitUnknown:
    """Only the ledger's own no is a refusal; all else leaves the transaction's fate open."""
    detail = words[:400]
    if status == _FULL:
        return SubmitUnknown(MEMPOOL(field="mempool", got=status, detail=detail))
    if "mempool is full" in words.lower():
        return SubmitUnknown(MEMPOOL(field="mempool", got=status, detail=detail))
    if status in (400, 422):
        if any(word in words for word in _SPENT_WORDS):
            return SubmitRefused(INPUTS_SPENT(field="inputs", got=status, detail=detail), inputs_spent=True)
        if any(word in words for word in _LEDGER_WORDS):
            return SubmitRefused(SUBMIT_REFUSED(field="transaction", got=status, detail=detail))
    return SubmitUnknown(REFUSED(field=path, got=status, detail=detail))
