"""The devnet's default parameters are those of scalus's emulator: read from the installed package, which shows them
by no call. Its bundle builds them in one constructor, whose anchor is the minimum fee's constant."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from regtest.cardano.params import Params
from regtest.judge import install

pytestmark = pytest.mark.node
INTS = r"(-?[\d.]+(?:e\d+)?)"
LONG = rf"{INTS},{INTS}"  # low and high half of 64 bits
UNITS = rf"\(\w+\(\),new \w+\({LONG},{LONG}\)\)"
VERSION = rf"\(\w+\(\),new \w+\({INTS},{INTS}\)\)"


def whole(low: str, high: str) -> int:
    return int(float(low)) % 2**32 + int(float(high)) * 2**32


def constructor() -> str:
    """The text between the function that makes the parameters and its last number."""
    bundle = (install.home() / "node_modules" / "scalus" / "scalus.js").read_text()
    assert bundle.count("155381") == 1
    end = bundle.index("155381")
    return bundle[bundle.rindex("function ", 0, end) : end + 60]


def test_cost_models() -> None:
    listed = re.findall(r"Int32Array\(\[([^\]]*)\]\)", constructor())
    models = []
    for text in listed:
        halves = text.split(",")
        models.append(tuple(whole(low, high) for low, high in zip(halves[::2], halves[1::2], strict=True)))
    ours = Params().cost_models
    assert models == [ours[1], ours[2], ours[3]]


def test_prices_of_execution() -> None:
    prices = re.findall(rf"new \w+\({LONG},{LONG}\)", constructor())
    memory, steps = (Fraction(whole(*p[:2]), whole(*p[2:])) for p in prices if whole(*p[2:]) == 10**15)
    assert (memory, steps) == (Params().price_mem, Params().price_steps)


def test_sizes_fees_and_limits() -> None:
    text = re.sub(r"Int32Array\(\[[^\]]*\]\)", "", constructor())
    p = Params()
    head = re.search(rf"new \w+\({LONG},{LONG},{LONG},new \w+\(", text)
    sizes = re.search(rf",{LONG},{UNITS},{LONG},{LONG},{UNITS},{LONG},{LONG},{LONG},", text)
    last = re.search(
        rf"\(\w+\(\),new \w+\({INTS},{INTS}\)\),{LONG},{LONG},{LONG},[.\d]+,{LONG},{LONG},{LONG}\)", text
    )
    assert head
    assert sizes
    assert last
    assert whole(*head.groups()[:2]) == p.collateral_percent
    found = [whole(a, b) for a, b in zip(sizes.groups()[::2], sizes.groups()[1::2], strict=True)]
    assert found == [
        p.max_block_body_size, p.max_block_mem, p.max_block_steps, p.max_block_header_size, p.max_collateral_inputs,
        p.max_tx_mem, p.max_tx_steps, p.max_tx_size, p.max_value_size, p.ref_script_base,
    ]  # fmt: skip
    numbers = last.groups()
    assert tuple(int(n) for n in numbers[:2]) == p.version
    fees = [whole(a, b) for a, b in zip(numbers[-6::2], numbers[-5::2], strict=True)]
    assert fees == [p.min_fee_constant, p.min_fee_coefficient, p.coins_per_utxo_byte]
