"""A click session: events on one image -> masks."""

from clickcut.session.click_session import ClickSession
from clickcut.session.state import Step
from clickcut.session.view import SessionView

__all__ = ["ClickSession", "SessionView", "Step"]
