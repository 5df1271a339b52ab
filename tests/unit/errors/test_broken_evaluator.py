"""The evaluator's foreign code answers nonsense: no verdict, and never taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from cometa._aiken_ffi import aiken_ffi

from gateway.cl.l1 import evaluate
from gateway.errors import Refused
from tests.support import l1_world as l1


class Library:
    """What the foreign library would give back, as the text at a pointer."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def eval_phase_two(self, *_: Any) -> Any:
        self.kept = aiken_ffi.new("char[]", self.text)
        return self.kept

    def drop_char_pointer(self, _: Any) -> None:
        del self.kept


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"status": "SUCCESS"}', b'{"status":"success","redeemer_cbor":"ff"}']
)
def test_an_answer_that_cannot_be_read_is_no_verdict(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "aiken_lib", Library(text))
    with pytest.raises(Refused) as caught:
        evaluate.AikenEvaluator().evaluate(b"\xa0", list(l1.view().wallet), l1.PARAMS)
    assert caught.value.rejection.code == "cl.l1.evaluator"
