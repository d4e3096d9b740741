"""Budgets of models: what a token, a room and a project may use, with reservations for requests under way.

A request reserves its estimated input and all of the output that it may get, so that requests at the same time cannot
overshoot; its end replaces the reservation by what it really was.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.accounts.model_usage import BILLIONTH, ModelUsage, ModelUse, Spender, spenders
from meshagent.server.config import LlmSettings, ModelBudget, ModelPrice
from meshagent.server.gateway.llm_usage import Tokens

__all__ = ["Asker", "BudgetExceededError", "LlmBudgets", "PriceTable", "Reservation"]

_PER_MILLION: Final = BILLIONTH // 1_000_000
_MAX_IDLE: Final = 10_000
"""Tokens, rooms and projects that are remembered though they have no request under way."""
_SMALLEST_OUTPUT: Final = 16
"""Tokens of an answer that a budget leaves at least, where the request names no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Whose request it is."""

    project_id: str
    room_name: str
    key_id: str
    participant: str

    def spenders(self) -> tuple[Spender, ...]:
        """The token, the room and the project."""
        return spenders(self.project_id, self.room_name, self.key_id, self.participant)


class BudgetExceededError(LimitExceededError):
    """A budget for models is used up.

    Attributes:
        kind: What is used up: `requests`, `tokens` or `cost`.
        retry_after: Seconds after which it may be enough again; None if it never is enough for this request.
    """

    def __init__(self, message: str, *, limit: float, kind: str, retry_after: float | None) -> None:
        super().__init__(message, limit=int(limit))
        self.kind = kind
        self.retry_after = retry_after


class PriceTable:
    """Prices by model: an exact name, else the longest name with `*` at its end that fits."""

    def __init__(self, prices: Mapping[str, ModelPrice]) -> None:
        self._exact = {name: price for name, price in prices.items() if not name.endswith("*")}
        begins = {name[:-1]: price for name, price in prices.items() if name.endswith("*")}
        self._begins = sorted(begins.items(), key=lambda entry: -len(entry[0]))

    def cost(self, model: str, tokens: Tokens) -> int | None:
        """Billionths of the currency; None if the model has no price."""
        price = self._exact.get(model)
        if price is None:
            price = next((price for begin, price in self._begins if model.startswith(begin)), None)
        if price is None:
            return None
        cached = min(tokens.cached, tokens.input)
        cached_price = price.input if price.cached_input is None else price.cached_input
        cost = (tokens.input - cached) * price.input + cached * cached_price + tokens.output * price.output
        return round(cost * _PER_MILLION)


class _Allowance:
    """An amount a minute that grows back evenly, up to the amount of one minute. Can be overdrawn."""

    __slots__ = ("_at", "_clock", "_left", "per_minute")

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._at = clock()

    def left(self) -> float:
        now = self._clock()
        self._left = min(self.per_minute, self._left + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._left

    def take(self, amount: float) -> None:
        """Take an amount; a negative one gives back."""
        self._left = min(self.per_minute, self.left() - amount)

    def wait(self, amount: float) -> float | None:
        """Seconds until so much is there; None if it never is."""
        if amount > self.per_minute:
            return None
        return (amount - self.left()) * 60 / self.per_minute


class _Account:
    """One token, room or project: what is under way, and what it used in the last minute."""

    __slots__ = ("in_flight", "name", "requests", "reserved_cost", "reserved_tokens", "tokens")

    def __init__(self, name: str, budget: ModelBudget, clock: Callable[[], float]) -> None:
        self.name = name
        self.in_flight = 0
        self.reserved_tokens = 0
        self.reserved_cost = 0
        self.requests = _Allowance(budget.requests_per_minute, clock) if budget.requests_per_minute else None
        self.tokens = _Allowance(budget.tokens_per_minute, clock) if budget.tokens_per_minute else None

    @property
    def is_idle(self) -> bool:
        """Whether a new one would be the same."""
        allowances = [allowance for allowance in (self.requests, self.tokens) if allowance is not None]
        return not self.in_flight and all(one.left() >= one.per_minute for one in allowances)


class Reservation:
    """A request under way. Use it in a `with` block; `settle` says what it really was.

    One that ends without `settle` gives everything back, unless it `began`: then its estimated input is counted.
    """

    def __init__(
        self,
        budgets: LlmBudgets,
        asker: Asker,
        model: str,
        accounts: list[_Account],
        tokens: Tokens,
        cost: int,
        on_use: Callable[[ModelUse], None],
    ) -> None:
        self.asker = asker
        self.model = model
        self.tokens = tokens
        self.cost = cost
        self._on_use = on_use
        self._budgets = budgets
        self._accounts = accounts
        self._began = False
        self._is_settled = False

    @property
    def is_settled(self) -> bool:
        return self._is_settled

    def begin(self) -> None:
        """The provider works on it: from now on it costs."""
        self._began = True

    async def settle(self, tokens: Tokens, *, is_estimate: bool = False) -> None:
        """Replace the reservation by what the request used; returns when that is durable."""
        use = self._end(tokens, is_estimate)
        if self._budgets.usage is not None:
            await self._budgets.usage.record(use)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._is_settled:
            return
        if self._began:
            use = self._end(Tokens(self.tokens.input, 0), True)
            if self._budgets.usage is not None:
                self._budgets.usage.add(use)
            return
        self._release(Tokens(0, 0))

    def _end(self, tokens: Tokens, is_estimate: bool) -> ModelUse:
        self._release(tokens)
        use = ModelUse(
            project_id=self.asker.project_id,
            room_name=self.asker.room_name,
            key_id=self.asker.key_id,
            participant=self.asker.participant,
            model=self.model,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            cached_input_tokens=min(tokens.cached, tokens.input),
            cost=self._budgets.cost(self.model, tokens),
            is_estimate=is_estimate,
        )
        self._on_use(use)
        return use

    def _release(self, used: Tokens) -> None:
        self._is_settled = True
        reserved = self.tokens.total
        for account in self._accounts:
            account.in_flight -= 1
            account.reserved_tokens -= reserved
            account.reserved_cost -= self.cost
            if account.tokens is not None:
                account.tokens.take(used.total - reserved)
        self._budgets.released()


class LlmBudgets:
    """The budgets of all tokens, rooms and projects of a server; also a source of metrics.

    Args:
        settings: Budgets and prices.
        usage: Where the use is kept, and what was spent today; None keeps nothing.
        is_free: Whether the models cost nothing, as the built-in one does.
        clock: Seconds, of a clock that nobody can set.
    """

    def __init__(
        self,
        settings: LlmSettings,
        usage: ModelUsage | None = None,
        *,
        is_free: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.usage = usage
        self._budgets = (settings.token_budget, settings.room_budget, settings.project_budget)
        self._prices = PriceTable(settings.prices)
        self._is_free = is_free
        self._clock = clock
        self._accounts: dict[Spender, _Account] = {}
        self._in_flight = 0
        self._forget_at = _MAX_IDLE
        self._refused: Counter[tuple[str, str]] = Counter()

    def cost(self, model: str, tokens: Tokens) -> int | None:
        """Billionths of the currency; None if the model has no price."""
        return 0 if self._is_free else self._prices.cost(model, tokens)

    def bounded_output(self, wanted: int, *, input_tokens: int) -> int:
        """The output that a request without a bound of its own may have: no more than the smallest budget of tokens."""
        for budget in self._budgets:
            for most in (budget.tokens_per_minute, budget.tokens_per_day):
                if most:
                    wanted = min(wanted, max(_SMALLEST_OUTPUT, most - input_tokens))
        return wanted

    def reserve(
        self, asker: Asker, model: str, tokens: Tokens, *, on_use: Callable[[ModelUse], None] = lambda use: None
    ) -> Reservation:
        """Begin a request: its estimated input, and the most output that it may get.

        Args:
            asker: Whose it is.
            model: The model.
            tokens: What it is about to use at most.
            on_use: Told what it was, before that is durable.

        Raises:
            BudgetExceededError: A budget is used up, with what is reserved for others.
            InvalidRequestError: There is a budget of cost, and the model has no price.
            UnavailableError: The use cannot be recorded.
        """
        if self.usage is not None:
            self.usage.check_writable()
        cost = self.cost(model, tokens)
        if cost is None and any(budget.cost_per_day or budget.cost_per_month for budget in self._budgets):
            raise InvalidRequestError(
                f"the model {model[:100]!r} has no price in llm.prices, so it cannot be used under a budget of cost"
            )
        keys = asker.spenders()
        accounts = [self._account(key, budget) for key, budget in zip(keys, self._budgets, strict=True)]
        for key, budget, account in zip(keys, self._budgets, accounts, strict=True):
            for error in (
                *self._rates(budget, account, tokens),
                *self._quotas(key, budget, account, tokens, cost or 0),
            ):
                self._refused[key[0], error.kind] += 1
                raise error
        for account in accounts:
            account.in_flight += 1
            account.reserved_tokens += tokens.total
            account.reserved_cost += cost or 0
            if account.requests is not None:
                account.requests.take(1)
            if account.tokens is not None:
                account.tokens.take(tokens.total)
        self._in_flight += 1
        return Reservation(self, asker, model, accounts, tokens, cost or 0, on_use)

    def released(self) -> None:
        """A request has ended."""
        self._in_flight -= 1
        if len(self._accounts) > self._forget_at:
            self._accounts = {key: account for key, account in self._accounts.items() if not account.is_idle}
            self._forget_at = max(_MAX_IDLE, 2 * len(self._accounts))

    async def families(self) -> list[Metric]:
        refused = CounterMetricFamily(
            "meshagent_llm_refused", "Requests beyond a budget of models.", labels=["budget", "kind"]
        )
        for (scope, kind), count in self._refused.items():
            refused.add_metric([scope, kind], count)
        return [
            GaugeMetricFamily("meshagent_llm_requests_in_flight", "Requests to models under way.", self._in_flight),
            refused,
        ]

    def _account(self, spender: Spender, budget: ModelBudget) -> _Account:
        account = self._accounts.get(spender)
        if account is None:
            name = "this token" if spender[0] == "token" else f"the {spender[0]} {spender[-1]!r}"
            account = self._accounts[spender] = _Account(name, budget, self._clock)
        return account

    def _rates(self, budget: ModelBudget, account: _Account, tokens: Tokens) -> Iterator[BudgetExceededError]:
        """The limits of the moment that the request is beyond."""
        most = budget.concurrent_requests
        if most and account.in_flight >= most:
            yield _exceeded(account, f"{most} requests at a time", most, kind="requests", retry_after=1.0)
        if account.requests is not None and account.requests.left() < 1:
            most, wait = budget.requests_per_minute, account.requests.wait(1)
            yield _exceeded(account, f"{most} requests a minute", most, kind="requests", retry_after=wait)
        if account.tokens is not None and account.tokens.left() < tokens.total:
            most, wait = budget.tokens_per_minute, account.tokens.wait(tokens.total)
            yield _exceeded(account, f"{most} tokens a minute", most, kind="tokens", retry_after=wait, asked=tokens)

    def _quotas(
        self, spender: Spender, budget: ModelBudget, account: _Account, tokens: Tokens, cost: int
    ) -> Iterator[BudgetExceededError]:
        """The limits of the day and the month that the request is beyond."""
        usage = self.usage
        if usage is None:
            return
        wanted_tokens = account.reserved_tokens + tokens.total
        wanted_cost = account.reserved_cost + cost
        most = budget.tokens_per_day
        wait: float | None
        if most and usage.spent_today(spender).tokens + wanted_tokens > most:
            wait = None if tokens.total > most else usage.next_day()
            yield _exceeded(account, f"{most} tokens a day", most, kind="tokens", retry_after=wait, asked=tokens)
        for amount, period, spent, next_one in (
            (budget.cost_per_day, "day", usage.spent_today, usage.next_day),
            (budget.cost_per_month, "month", usage.spent_this_month, usage.next_month),
        ):
            if amount and spent(spender).cost + wanted_cost > amount * BILLIONTH:
                wait = None if cost > amount * BILLIONTH else next_one()
                what = f"a cost of {amount:g} a {period}"
                yield _exceeded(account, what, amount, kind="cost", retry_after=wait, asked=tokens)


def _exceeded(
    account: _Account,
    what: str,
    limit: float,
    *,
    kind: str,
    retry_after: float | None,
    asked: Tokens | None = None,
) -> BudgetExceededError:
    text = f"{account.name} may use {what} for models"
    if asked is not None:
        text += f"; too little of it is left for a request of up to {asked.total} tokens, {asked.output} of them output"
    if retry_after is None:
        text += ": ask for less"
    return BudgetExceededError(text, limit=limit, kind=kind, retry_after=retry_after)
