"""Progress of long computations: events, listeners, and a display for people."""

from metamix.progress.display import show_progress
from metamix.progress.events import Event, emit, json_lines, listen, mute

__all__ = ["Event", "emit", "json_lines", "listen", "mute", "show_progress"]
