"""The local stack: start, find and stop MLflow and Ray on this machine, and connect to them."""

from twinscore.stack.health import Component
from twinscore.stack.lifecycle import StackStatus, down, status, up
from twinscore.stack.session import Connection, connect
from twinscore.stack.state import StackState

__all__ = ["Component", "Connection", "StackState", "StackStatus", "connect", "down", "status", "up"]
