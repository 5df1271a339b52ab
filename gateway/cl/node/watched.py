"""R4. Which channels are ours to watch, what the chain showed of each, and which of it was not told yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gateway.cl.chain.view import ChannelCreated, ChannelSpent, Located
from gateway.cl.data import types as t
from gateway.cl.node import track


class Watched:
    """Strangers' channels are many: what concerns them is dropped at the door."""

    def __init__(self, policy: bytes) -> None:
        self._policy = policy
        self.keys: dict[t.ChannelId, t.VerificationKey] = {}
        self.untold: set[t.ChannelId] = set()
        self._located: defaultdict[t.ChannelId, list[Located]] = defaultdict(list)
        self._stories: dict[t.ChannelId, track.Story] = {}

    def add(self, channel: t.ChannelId, our_key: t.VerificationKey) -> None:
        self.keys[channel] = our_key
        self._changed(channel)

    def restore(self, located: Iterable[Located]) -> None:
        self._located.clear()
        self._stories.clear()
        self.untold |= set(self.keys)
        for one in located:
            self.note(one)

    def channel_of(self, located: Located) -> t.ChannelId | None:
        match located.observation:
            case ChannelCreated(channel) | ChannelSpent(channel) if channel in self.keys:
                return channel
        return None

    def note(self, located: Located) -> None:
        channel = self.channel_of(located)
        if channel is not None:
            self._located[channel].append(located)
            self._changed(channel)

    def take_back(self, located: Located) -> None:
        channel = self.channel_of(located)
        if channel is not None:
            if located in self._located[channel]:
                self._located[channel].remove(located)
            self._changed(channel)

    def _changed(self, channel: t.ChannelId) -> None:
        self._stories.pop(channel, None)
        self.untold.add(channel)

    def ahead(self, located: Iterable[Located]) -> dict[t.ChannelId, track.Story]:
        """The story of each channel that `located` goes on with, as it would be with them on chain."""
        more: defaultdict[t.ChannelId, list[Located]] = defaultdict(list)
        for one in located:
            channel = self.channel_of(one)
            if channel is not None:
                more[channel].append(one)
        return {
            channel: track.fold([*self._located[channel], *new], self.keys[channel], self._policy)
            for channel, new in more.items()
        }

    def story(self, channel: t.ChannelId) -> track.Story:
        story = self._stories.get(channel)
        if story is None:
            story = track.fold(self._located[channel], self.keys[channel], self._policy)
            self._stories[channel] = story
        return story
