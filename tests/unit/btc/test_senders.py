"""When "no record" and "failed" of LND's record become proof."""

from gateway.btc.senders import Senders
from gateway.hashlock import Preimage

LOCK, OTHER = Preimage(b"\x01" * 32).hashlock, Preimage(b"\x02" * 32).hashlock


class Hand:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def senders() -> tuple[Senders, Hand]:
    hand = Hand()
    return Senders(60.0, hand), hand


def test_an_earlier_process_may_have_sent_anything_just_before_it_died() -> None:
    them, hand = senders()
    assert "0 s ago" in them.doubt(LOCK)
    hand.now += 60
    assert them.doubt(LOCK) == ""


def test_an_unseen_request_is_in_doubt_until_long_after_its_end() -> None:
    them, hand = senders()
    hand.now += 1000
    sending = them.begin(LOCK)
    assert "being sent" in them.doubt(LOCK)
    hand.now += 500
    them.end(sending)
    hand.now += 59
    assert "59 s ago" in them.doubt(LOCK)
    assert them.doubt(OTHER) == ""
    hand.now += 1
    assert them.doubt(LOCK) == ""
    assert not them.seen(LOCK)


def test_what_lnd_told_of_is_on_its_way_no_more() -> None:
    them, _ = senders()
    sending = them.begin(LOCK)
    sending.seen = True
    assert them.doubt(LOCK)
    them.end(sending)
    assert them.seen(LOCK)
    assert them.doubt(LOCK) == ""


def test_a_second_request_takes_the_first_ones_word_away() -> None:
    them, _ = senders()
    first = them.begin(LOCK)
    first.seen = True
    them.end(first)
    second = them.begin(LOCK)
    assert not them.seen(LOCK)
    them.end(second)
    assert them.doubt(LOCK)


def test_of_two_at_once_one_that_is_unseen_leaves_the_doubt() -> None:
    for order in ((0, 1), (1, 0)):
        them, _ = senders()
        both = [them.begin(LOCK), them.begin(LOCK)]
        both[0].seen = True
        for number in order:
            them.end(both[number])
        assert not them.seen(LOCK)
        assert them.doubt(LOCK)


def test_what_ended_long_ago_is_forgotten() -> None:
    them, hand = senders()
    for number in range(100):
        sending = them.begin(Preimage(bytes([number]) * 32).hashlock)
        sending.seen = number % 2 == 0
        them.end(sending)
        hand.now += 1
    them.end(them.begin(LOCK))
    assert len(them._ended) + len(them._seen) <= 61
