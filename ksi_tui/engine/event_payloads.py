"""Which event takes what data: one table, for whoever speaks of events without an engine.

Names and models only. Who answers an event is the engine's; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from ksi_tui.engine.checkpoint_payloads import Checkpoint
from ksi_tui.engine.control_payloads import (
    AddProvider,
    ForceCircuit,
    Probe,
    QueueScope,
    ReportedFailure,
    ResetCircuit,
    ResetConversation,
)
from ksi_tui.engine.finding.payloads import FindNames, FindRequests
from ksi_tui.engine.injection.events import HANDLERS as INJECTION_HANDLERS
from ksi_tui.engine.payloads import (
    AcquireLock,
    Batch,
    Cancel,
    Completion,
    MaybeProvider,
    Nothing,
    Preview,
    ReleaseLock,
    RequestStatus,
    Results,
    Retry,
    SessionStatus,
    Shutdown,
    TokenUsage,
)
from ksi_tui.engine.usage_payloads import JournalPage, Series

PAYLOADS: Final[Mapping[str, type[BaseModel] | None]] = MappingProxyType(
    {
        "system:startup": None,
        "system:context": None,
        "system:ready": None,
        "system:shutdown": Shutdown,
        "system:journal": JournalPage,
        "completion:async": Completion,
        "completion:inject": Completion,
        "completion:reserve": Nothing,
        "completion:batch": Batch,
        "completion:cancel": Cancel,
        "completion:retry": Retry,
        "completion:request_status": RequestStatus,
        "completion:status": Nothing,
        "completion:session_status": SessionStatus,
        "completion:provider_status": MaybeProvider,
        "completion:retry_status": Nothing,
        "completion:token_usage": TokenUsage,
        "completion:series": Series,
        "completion:models": Nothing,
        "completion:preview": Preview,
        "completion:requests": FindRequests,
        "completion:names": FindNames,
        "completion:results": Results,
        "completion:failed": ReportedFailure,
        "completion:reset_conversation": ResetConversation,
        "conversation:acquire_lock": AcquireLock,
        "conversation:release_lock": ReleaseLock,
        "provider:open": ForceCircuit,
        "provider:close": ForceCircuit,
        "provider:reset": ResetCircuit,
        "provider:probe": Probe,
        "provider:add": AddProvider,
        "queue:pause": QueueScope,
        "queue:resume": QueueScope,
        "checkpoint:collect": Nothing,
        "checkpoint:restore": Checkpoint,
        **{name: model for name, (model, _) in INJECTION_HANDLERS.items()},
    }
)
"""None: the event takes any object and looks at nothing of it."""
