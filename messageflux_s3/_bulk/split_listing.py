"""One listing read in several places at a time, for stores so far away that each page is waited for.

A listing is a chain: the token of a page is needed to request the next one. A :class:`SplitListing` starts further chains ahead, after
keys that it guesses from those listed so far (:mod:`~messageflux_s3._bulk.key_spacing`). A guess costs one request, whose page is used
unless it lies in a place that another chain has read. The pages are yielded in key order, each key once, since each chain ends where
the next one begins. If pages requested side by side do not arrive faster (the store is near, and busy), no further chains are started.

What keeps it safe on a store that does not start a listing after any text:

- A chain may be abandoned at any time: the one before it goes on by its own token, as a listing that is not split.
- The page with which a chain ends reaches into the next one. Unless both have the same keys from there on, the splitting ends. So also a
  store that sorts in another order, such as one that walks folders, is noticed before a key is lost.
- A page out of order, or one that begins before its start, ends the splitting.
- Only the first page of a chain is requested by a guessed key, and never through boto3, which lets the store encode keys
  (``encoding-type=url``): some stores then compare the start with encoded keys, and lose those beyond it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, Protocol

from .._formats.listing_pages import Page
from .._http.request_window import RequestWindow
from .key_spacing import KeySpacing

CONCURRENCY = 16
"""The largest number of pages requested at a time."""

PAGES_AHEAD = 96
"""The largest number of pages that are requested, or received and not yielded yet."""

_DISTANCE = 6  # pages from one start to the next; at each, half a page is read twice on average
_SHORTEST = 6.0  # pages in a part that is worth splitting
_SPENT = 0.25  # the largest share of requests whose page is not used, or used in part
_REMEMBERED = 16  # the page borders of a chain that are kept
_JUDGED = 12  # pages after which the waiting time is compared
_WORTHWHILE = 0.75  # the largest share of the waiting time without splitting


class PageRequests(Protocol):
    """Requests of pages, several at a time.

    Attributes:
        waited: The seconds that :meth:`advance` has waited, in total.
    """

    waited: float

    def begin(self, *, start_after: str = "", token: str | None = None) -> Any:
        """Request a page by its token, or the first one after a key; return a handle."""

    def advance(self, first: Any = None) -> None:
        """Process what has arrived. With a handle, wait until it, or another one, is complete."""

    def is_complete(self, begun: Any) -> bool:
        """Return whether :meth:`page` will not wait."""

    def page(self, begun: Any) -> Page | None:
        """Return a page, with entries that the store should have filtered out; None if it has to be asked for again."""

    def ask_again(self, begun: Any) -> Page:
        """Request a page again through boto3."""

    def abandon(self, begun: Any) -> None:
        """Note that a page is not wanted any more. Its request may still be under way."""


class _Chain:
    """Adjacent pages, requested one after the other.

    Attributes:
        start: The key or text after which it begins.
        start_after: What is sent as start along with tokens: what the caller of the listing asked for.
        begun: The request under way.
        failed: The request that has to be made again through boto3 when the page is needed.
        latest: The last page, as received; None until the first one has arrived.
        last: The last key received.
        borders: The first key of the first page, and the last key of each page.
        pages: The pages that were not yielded yet, without keys of the next chain.
        rest: What the last page has of the next chain's keys.
        is_over: Whether all keys up to the next chain have arrived.
        empty_after: A text before the next chain, with no key between the two; None if none is known.
    """

    __slots__ = (
        "begun", "borders", "empty_after", "failed", "is_over", "last", "latest", "pages", "rest", "start", "start_after",
    )  # fmt: skip

    def __init__(self, start: str, start_after: str = "") -> None:
        self.start = self.last = start
        self.start_after = start_after
        self.begun: Any = None
        self.failed: Any = None
        self.latest: Page | None = None
        self.borders: deque[str] = deque(maxlen=_REMEMBERED)
        self.pages: deque[Page] = deque()
        self.rest: Page | None = None
        self.is_over = False
        self.empty_after: str | None = None


class SplitListing:
    """The rest of a listing whose first pages have been read.

    Args:
        requests: Sends the requests. The caller closes it, also if the iteration ends early.
        first_pages: The pages read so far, at least one; the last one is truncated and has a token.
        page_wait: The seconds for which a page was waited.
        prefix: The prefix of the listing.
        start_after: The start of the listing.
        stop_before: The key before which the caller stops reading; None for none.
        starts_beyond_ascii: Whether the store is known to start a listing after texts that are not ASCII. If not, none are sent.
        is_compared: Whether to compare neighbouring chains. A key that is written or deleted where two of them meet ends the splitting too.

    Attributes:
        starts_are_wrong: Whether the store has answered with keys before the start.
    """

    def __init__(
        self,
        requests: PageRequests,
        first_pages: Sequence[Page],
        page_wait: float,
        *,
        prefix: str = "",
        start_after: str = "",
        stop_before: str | None = None,
        starts_beyond_ascii: bool = False,
        is_compared: bool = True,
    ) -> None:
        self.starts_are_wrong = False
        self._requests = requests
        self._stop_before = stop_before
        self._starts_beyond_ascii = starts_beyond_ascii
        self._is_compared = is_compared
        self._spacing = KeySpacing(prefix)
        self._concurrency = RequestWindow(CONCURRENCY)
        self._under_way = 0
        self._abandoned: list[Any] = []  # requests that are still under way, and whose pages are not wanted
        self._received = 0  # pages not yielded yet
        self._used = len(first_pages)
        self._unused = 0.0  # pages, or shares of pages, that were received in vain
        self._guesses_allowed = 1  # in a row between two chains; doubled by each success
        self._page_wait = page_wait
        self._is_worthwhile = True
        self._side_by_side = 0  # pages received since the last comparison, other than those that were alone under way
        self._waited = 0.0  # seconds waited for those
        self._pid = os.getpid()
        head = _Chain(start_after, start_after)
        for page in first_pages:
            self._note(head, page, [entry[0] for entry in page.objects])
        keys = [entry[0] for page in first_pages for entry in page.objects]
        self._is_abandoned = not keys or keys != sorted(keys)
        self._chains = [head]  # in key order; those without a page are guesses under way
        self._request_pages()

    def pages(self) -> Generator[Page, None, Page | None]:
        """Yield the pages after the first ones.

        Returns:
            None at the end of the listing; else the page after which the caller has to go on without splitting.

        Raises:
            S3Error: A page could not be listed.
        """
        while True:
            head = self._chains[0]
            if os.getpid() != self._pid:  # in a forked child, the connections are the parent's
                self._is_abandoned = True
            if not self._is_abandoned:
                self._requests.advance()
                self._collect()
            if head.pages:
                page = head.pages.popleft()
                self._received -= 1
                self._request_pages()
                yield page
            elif head.is_over and len(self._chains) == 1 and not self._is_abandoned:
                return None
            elif head.is_over and not self._is_abandoned and self._agree(head, self._chains[1]):
                del self._chains[0]
            elif head.is_over or self._is_abandoned:
                if head.rest is not None:
                    yield head.rest
                return head.latest
            elif head.failed is not None:
                begun, head.failed = head.failed, None
                self._receive(head, self._requests.ask_again(begun))
            else:
                self._request_pages()
                if head.begun is not None:
                    waited = self._requests.waited
                    self._requests.advance(head.begun)
                    if self._under_way > 1:
                        self._waited += self._requests.waited - waited

    # -- sending -------------------------------------------------------------------------------------------------------------------

    def _request_pages(self) -> None:
        """Request the next page of each chain, and start new ones, as far as the limits allow."""
        for chain in [*self._chains]:
            if self._is_abandoned:
                return
            if chain.begun is None and chain.failed is None and not chain.is_over and self._has_capacity(chain):
                assert chain.latest is not None
                if chain.latest.token is None:
                    self._is_abandoned = True
                else:
                    chain.begun = self._requests.begin(start_after=chain.start_after, token=chain.latest.token)
                    self._under_way += 1
        if self._is_worthwhile and not self._is_abandoned:
            for chain in [*self._chains]:
                while self._has_capacity() and (start := self._guess_after(chain)) is not None:
                    started = _Chain(start)
                    started.begun = self._requests.begin(start_after=start)
                    self._under_way += 1
                    self._chains.insert(self._chains.index(chain) + self._count_guesses_after(chain) + 1, started)

    def _has_capacity(self, chain: _Chain | None = None) -> bool:
        """Return whether another page may be requested; the first chain, whose pages are yielded next, always may."""
        if chain is self._chains[0]:
            return True
        return self._under_way < self._concurrency.size and self._under_way + self._received < PAGES_AHEAD

    def _count_guesses_after(self, chain: _Chain) -> int:
        at = count = self._chains.index(chain) + 1
        while count < len(self._chains) and self._chains[count].latest is None:
            count += 1
        return count - at

    def _guess_after(self, chain: _Chain) -> str | None:
        """Return a start for a further chain between this one and the next one that has a page; None if there is no good one."""
        if chain.latest is None or chain.is_over:
            return None
        arrived = [one for one in self._chains if one.latest is not None]
        guesses = len(self._chains) - len(arrived)
        # At worst each guess is in vain, and a whole page is read twice where two chains meet.
        spent = self._unused + guesses + 1 + sum(not one.is_over for one in arrived[:-1])
        if spent > _SPENT * (self._used + self._under_way - guesses):
            return None
        at = self._chains.index(chain)
        guesses_here = self._count_guesses_after(chain)
        if guesses_here >= self._guesses_allowed:
            return None
        after = at + guesses_here + 1
        end = self._chains[after].start if after < len(self._chains) else self._stop_before
        if chain.empty_after is not None and (end is None or chain.empty_after < end):
            end = chain.empty_after
        begin = self._chains[after - 1].start if guesses_here else chain.last
        if end is not None and end <= begin:
            return None
        pages = min(len(chain.borders) - 1, _DISTANCE)
        past = chain.borders[-1 - pages]
        length = self._spacing.pages_between(past, chain.last, pages, begin, end)
        if length < _SHORTEST:
            return None
        guess = self._spacing.ahead(past, chain.last, pages, begin, min(_DISTANCE, length / 2))
        if guess is None or (end is not None and guess >= end) or not guess.isprintable():
            return None
        return guess if self._starts_beyond_ascii or guess.isascii() else None

    # -- receiving -----------------------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Take over the pages that have arrived."""
        if self._abandoned:
            still = [begun for begun in self._abandoned if not self._requests.is_complete(begun)]
            self._under_way -= len(self._abandoned) - len(still)
            self._abandoned = still
        is_alone = self._under_way == 1
        for chain in [*self._chains]:
            if chain.begun is None or chain not in self._chains or not self._requests.is_complete(chain.begun):
                continue
            begun, chain.begun = chain.begun, None
            self._under_way -= 1
            page = self._requests.page(begun)
            if not is_alone:
                self._side_by_side += 1
            if page is None:  # the store may be overloaded
                self._concurrency.record_throttling(self._under_way + 1)
            elif not self._concurrency.is_settled:
                self._concurrency.record_response(0.0)
            if page is None and chain.latest is None:
                self._requests.abandon(begun)
                self._drop(chain)
            elif page is None:
                chain.failed = begun
            elif chain.latest is None:
                self._receive_first(chain, page)
            else:
                self._receive(chain, page)
        if self._side_by_side >= _JUDGED:
            self._is_worthwhile = self._waited <= _WORTHWHILE * self._page_wait * self._side_by_side
            self._side_by_side, self._waited = 0, 0.0

    def _receive_first(self, chain: _Chain, page: Page) -> None:
        """Take over the first page after a guessed start, or drop the chain."""
        at = self._chains.index(chain)
        before = next(one for one in self._chains[at - 1 :: -1] if one.latest is not None)
        following = next((one for one in self._chains[at + 1 :] if one.latest is not None), None)
        keys = [entry[0] for entry in page.objects]
        if keys and keys[0] <= chain.start:
            self.starts_are_wrong = self._is_abandoned = True
        elif not keys or (following is not None and keys[0] > following.start):
            before.empty_after = chain.start if before.empty_after is None else min(before.empty_after, chain.start)
            self._drop(chain)
        else:
            chain.empty_after, before.empty_after = before.empty_after, None
            self._guesses_allowed = min(2 * self._guesses_allowed, CONCURRENCY)
            self._receive(chain, page)

    def _receive(self, chain: _Chain, page: Page) -> None:
        """Take over a page."""
        keys = [entry[0] for entry in page.objects]
        is_head = chain is self._chains[0]
        if (page.is_truncated and not keys) or keys != sorted(keys) or (keys and keys[0] <= chain.last):
            self._is_abandoned = True  # pages() hands the head's page over unchanged, and drops all other chains
            if is_head:
                chain.latest = page
                chain.pages.append(page)
                self._received += 1
            return
        self._used += 1
        self._note(chain, page, keys)
        at = self._chains.index(chain) + 1
        while at < len(self._chains) and self._chains[at].latest is None and self._is_beyond(chain, self._chains[at]):
            self._drop(self._chains[at])
        following = self._chains[at] if at < len(self._chains) else None
        if following is not None and following.latest is not None and chain.last > following.start:
            end = bisect_right(keys, following.start)
            chain.rest = Page(page.objects[end:], [])
            page = Page(page.objects[:end], [])
            self._unused += (len(keys) - end) / len(keys)
            chain.is_over = True
        elif not page.is_truncated or (self._stop_before is not None and chain.last >= self._stop_before):
            chain.is_over = True
        if page.objects:
            chain.pages.append(page)
            self._received += 1

    def _is_beyond(self, chain: _Chain, guess: _Chain) -> bool:
        """Return whether a chain has read past the start of a guess that is under way."""
        assert chain.latest is not None
        return not chain.latest.is_truncated or chain.last >= guess.start

    def _note(self, chain: _Chain, page: Page, keys: Sequence[str]) -> None:
        """Note where a page ends."""
        chain.latest = page
        if keys:
            if not chain.borders:
                chain.borders.append(keys[0])
            chain.borders.append(keys[-1])
            chain.last = keys[-1]
            self._spacing.observe(keys)

    def _drop(self, chain: _Chain) -> None:
        """Drop a guess: it lies where there are no keys, or another chain has read on past it."""
        if chain.begun is not None:
            self._requests.abandon(chain.begun)
            self._abandoned.append(chain.begun)
        self._chains.remove(chain)
        self._unused += 1
        self._guesses_allowed = 1

    def _agree(self, chain: _Chain, following: _Chain) -> bool:
        """Return whether the keys with which this chain's last page reaches into the next chain are the first ones of that chain."""
        if chain.rest is None:  # the listing ended before the next chain, whose keys were written or deleted meanwhile
            return False
        if not self._is_compared:
            return True
        pairs = zip(chain.rest.objects, following.pages[0].objects, strict=False)
        return all(entry[0] == other[0] for entry, other in pairs)
