"""Sessions that outlive their process: kept in a store, restored from it, event by event.

A session in memory is the result of the events in the store. Each event is applied first and
appended to the store before it is acknowledged; if the store refuses it, the session goes back to
what it was before. When the outcome of a write is not known, the session compares itself with the
store before its next event.
"""

from __future__ import annotations

import asyncio
import logging

from google.protobuf.message import DecodeError

from clickcut.errors import (
    ClickcutError,
    ImageNotFoundError,
    SessionNotFoundError,
    StoreUnavailableError,
    TakenOverError,
)
from clickcut.server.image_store import Found
from clickcut.server.journal import Journal
from clickcut.server.model_registry import Models, key_of_model
from clickcut.server.peers import Peer
from clickcut.server.pool import Steps
from clickcut.server.requests import apply_event, parameters_of, window_of
from clickcut.server.session_store import HeldSession
from clickcut.session import ClickSession
from clickcut.store import Append, ConflictError, Create, Opening, Stored
from clickcut.v1 import clickcut_pb2 as pb
