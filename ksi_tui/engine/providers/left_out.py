"""What litellm, OpenAI's SDK and httpx do with every call and no call of the engine needs.

Left out in a worker alone, once, after litellm is imported. Each part is somebody's own business:
where a later version has no such name it does it again, and nothing else changes.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, Final

from ksi_tui.engine.providers.tokens import varies

_NOT_BROKEN_DOWN: Final = SimpleNamespace(
    reasoning_cost=None, cache_read_cost=None, cache_creation_cost=None, rates=None
)
_MODELS_KEPT: Final = 256


def leave_out() -> None:
    """Leave all of it out, in the running loop where it is about that."""
    _hop_to_a_thread(asyncio.get_running_loop())
    _success_log()
    _unheard_clock()
    _search_of_bodies()
    _idle_cookies()
    _assembly_by_hand()
    _searches_of_lists()
    _search_of_tiers()


def _hop_to_a_thread(loop: asyncio.AbstractEventLoop) -> None:
    """Have litellm put a call to an OpenAI server together where it is, not in a thread.

    That looks at arguments and waits for nothing, 0.5 ms, and to have it back from a thread the
    loop is woken anew, while both want the interpreter. What else goes to a thread still does:
    other routes look up credentials there.
    """
    in_executor: Any = loop.run_in_executor

    def run(executor: Any, work: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        if executor is not None or args or not _puts_together(work):
            done: asyncio.Future[Any] = in_executor(executor, work, *args)
            return done
        done = loop.create_future()
        try:
            done.set_result(work())
        except Exception as error:  # as a thread does: it is for who awaits this
            done.set_exception(error)
        return done

    setattr(loop, "run_in_executor", run)  # noqa: B010 - a method, in its type's eyes


def _puts_together(work: object) -> bool:
    """Whether this is litellm's `completion`, asked for the coroutine that makes an OpenAI call."""
    if not isinstance(work, partial) or len(work.args) != 1 or work.keywords:
        return False
    asked = work.args[0].keywords if isinstance(work.args[0], partial) else {}
    return asked.get("acompletion") is True and str(asked.get("model")).startswith("openai/")


def _success_log() -> None:
    """Tell litellm that its caller keeps the books: its own log of each call is a quarter of it."""
    with suppress(ImportError):
        context = importlib.import_module("litellm._internal_context")
        context.is_internal_call.set(True)
    # What of a cost was for which kind of token stands in that log alone; a call's cost is
    # reckoned before. It takes 6 % of the call.
    with suppress(ImportError):
        costs: Any = importlib.import_module("litellm.cost_calculator")
        if hasattr(costs, "get_token_type_cost_breakdown"):
            costs.get_token_type_cost_breakdown = lambda **_: _NOT_BROKEN_DOWN


def _unheard_clock() -> None:
    """Have the request to an OpenAI server made without litellm's clock around it.

    That makes a task and a record of each for listeners which only its proxy has, 2 % of a call.
    """
    with suppress(ImportError, AttributeError):
        server: Any = importlib.import_module("litellm.llms.openai.openai").OpenAIChatCompletion
        timed = server.make_openai_chat_completion_request
        server.make_openai_chat_completion_request = timed.__wrapped__


def _search_of_bodies() -> None:
    """Have OpenAI's SDK send a chat completion as it was put together.

    Else it looks through every part of it for what has another name on the wire or is no JSON,
    0.7 ms a call. No field of a chat completion has, and what the engine sends is JSON.
    """
    with suppress(ImportError, AttributeError):
        given = importlib.import_module("openai._utils").is_given
        chat: Any = importlib.import_module("openai.resources.chat.completions.completions")

        async def only_given(body: Mapping[str, Any], _: object) -> dict[str, Any]:
            return {name: value for name, value in body.items() if given(value)}

        if hasattr(chat, "async_maybe_transform"):
            chat.async_maybe_transform = only_given


def _idle_cookies() -> None:
    """Have httpx look for cookies only in answers that set some: to look is 5 % of a call."""
    with suppress(ImportError, AttributeError):
        cookies: Any = importlib.import_module("httpx").Cookies
        found_in = cookies.extract_cookies

        def extract_cookies(jar: Any, response: Any) -> None:
            if "set-cookie" in response.headers:
                found_in(jar, response)

        cookies.extract_cookies = extract_cookies


def _assembly_by_hand() -> None:
    """Have an answer checked by pydantic in place of put together field by field, 5 µs for 100.

    OpenAI's SDK looks at no value on the way. An answer that holds what its type does not is put
    together as before, so that nothing of it is refused or changed.
    """
    with suppress(ImportError, AttributeError):
        answer: Any = importlib.import_module("openai.types.chat").ChatCompletion
        refused = importlib.import_module("pydantic").ValidationError
        by_hand = answer.construct.__func__

        def construct(kind: Any, fields: set[str] | None = None, /, **values: Any) -> Any:
            if kind is answer and fields is None:
                with suppress(refused):
                    return kind.model_validate(values, strict=True)
            return by_hand(kind, fields, **values)

        answer.construct = classmethod(construct)


def _searches_of_lists() -> None:
    """Have looked up once what is the same in every call: prices, addresses, providers' names."""
    with suppress(ImportError, AttributeError):
        main: Any = importlib.import_module("litellm.main")
        known = importlib.import_module("litellm.utils").cached_get_model_info_helper
        if hasattr(main, "get_model_info_helper"):
            # Who asks writes into what it gets.
            main.get_model_info_helper = lambda **asked: dict(known(**asked))
    with suppress(ImportError, AttributeError):
        clients: Any = importlib.import_module("openai._base_client").BaseClient
        prepare: Any = lru_cache(maxsize=256)(_prepared(clients._prepare_url))
        clients._prepare_url = lambda client, url: prepare(client.base_url, url)
    with suppress(ImportError, AttributeError):
        # Three times a call all of them are listed, and an enum is slow to say a value.
        providers: Any = importlib.import_module("litellm.types.utils").LlmProviders
        providers.value = property(attrgetter("_value_"))


def _search_of_tiers() -> None:
    """Have a model's rates kept that are the same for every call, as long as its facts are.

    litellm goes through all its facts for tiers, 170 a call and 4 % of it.
    """
    with suppress(ImportError, AttributeError):
        costs: Any = importlib.import_module("litellm.litellm_core_utils.llm_cost_calc.utils")
        rates_for = costs._get_token_base_cost
        kept: dict[tuple[Any, str | None], tuple[Any, Any]] = {}

        def rates(
            model_info: Mapping[str, Any],
            usage: Any,
            service_tier: str | None = None,
            *args: Any,
            **more: Any,
        ) -> Any:
            key = model_info.get("key"), service_tier
            kept_for, found = kept.get(key, (None, None))
            if kept_for is model_info:
                return found
            found = rates_for(model_info, usage, service_tier, *args, **more)
            if not any(varies(name) for name, value in model_info.items() if value is not None):
                if len(kept) >= _MODELS_KEPT:
                    kept.clear()
                kept[key] = model_info, found
            return found

        costs._get_token_base_cost = rates


def _prepared(prepare: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Return the SDK's joining of a path to a client's address, as a function of both alone."""
    return lambda base_url, url: prepare(SimpleNamespace(base_url=base_url), url)
