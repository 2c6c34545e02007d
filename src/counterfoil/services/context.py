"""What the services work with, put together once by the composition root."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from counterfoil.core import money
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import Chain, Destination, Entropy, Method, Mode, Store


class Methods:
    """The methods that this server can be paid with, and the chains they live on."""

    def __init__(self, chains: Iterable[Chain]) -> None:
        """Take the enabled chains."""
        self.chains: Mapping[str, Chain] = {chain.name: chain for chain in chains}
        self._methods = {m.id: m for chain in self.chains.values() for m in chain.methods}
        # Looking whether an address is about to be handed out derives the same few again and again.
        self.derive = lru_cache(maxsize=4_096)(self._derive)

    def _derive(self, chain: str, wallet: str, index: int) -> Destination:
        return self.chains[chain].derive(wallet, index)

    def get(self, method_id: str) -> Method | None:
        """Return a method by its id, None if it is not enabled (any more)."""
        return self._methods.get(method_id)

    def format_coin(self, method_id: str, amount_atomic: int) -> str | None:
        """Return an amount in whole coins, None of a method that is not enabled (any more).

        How many decimals that one had is not known, and a wrong amount is worse than none.
        """
        method = self.get(method_id)
        return None if method is None else money.format_coin(amount_atomic, method.decimals)

    def chain_of(self, method: Method) -> Chain:
        """Return the chain that a method lives on."""
        return self.chains[method.chain]

    @property
    def all(self) -> tuple[Method, ...]:
        """All enabled methods."""
        return tuple(self._methods.values())

    def of_mode(self, mode: Mode) -> tuple[Method, ...]:
        """Return the methods of live money, or the simulator's."""
        return tuple(method for method in self.all if method.mode is mode)

    def named(
        self, text: str, field: str = "coin_symbol", mode: Mode = Mode.LIVE
    ) -> tuple[Method, ...]:
        """Return the methods that a method id or a bare coin symbol means, one at least.

        A test invoice may name real coins, so that a shop's requests need no change for a test, and
        the simulator's too. Raises InvalidError that names the enabled ones.
        """
        # Letters of other alphabets can have upper cases that are ASCII: they spell no coin.
        name = text.upper() if text.isascii() else ""
        known = self.of_mode(Mode.LIVE)
        if mode is Mode.TEST:
            known += self.of_mode(Mode.TEST)
        exact = tuple(method for method in known if method.id == name)
        found = exact or tuple(method for method in known if method.symbol == name)
        if not found:
            enabled = ", ".join(method.id for method in known) or "none"
            message = f"{field} names no coin that this server takes; it takes: {enabled}."
            raise InvalidError(Problem(field, "unknown_coin", message))
        return found

    def only(self, text: str, field: str, mode: Mode = Mode.LIVE) -> Method:
        """Return the one method that a text means; raises InvalidError where there are several."""
        method, *others = self.named(text, field, mode)
        if others:
            choices = ", ".join(choice.id for choice in (method, *others))
            message = f"This coin means several methods here; name one of {choices}."
            raise InvalidError(Problem(field, "ambiguous_method", message))
        return method


@dataclass(frozen=True, slots=True)
class Context:
    """The store, the methods, the fiat currencies that a rate source lists, chance, and our URL."""

    store: Store
    methods: Methods
    currencies: frozenset[str]
    entropy: Entropy
    checkout_url: str

    def wake_tellers(self) -> None:
        """Have the courier and the open pages look at once at what has just been written."""
        self.store.wake("outbox")
        self.store.wake("pages")
