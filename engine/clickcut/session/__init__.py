"""A click session: events on one image -> masks."""

from clickcut.session.click_session import ClickSession, Step

__all__ = ["ClickSession", "Step"]
